"""Models that are published with a guarantee for rows that were removed before.

`Publisher` adds fresh noise to coefficients whose distance from the exact optimum is
proven to be small enough. `privacy_profile` says what the models before and after the
removal of a row, seen together, reveal of that row.
"""

from ._profile import PrivacyProfile, privacy_profile
from ._publisher import Publisher
from ._statement import Statement

__all__ = ["PrivacyProfile", "Publisher", "Statement", "privacy_profile"]
