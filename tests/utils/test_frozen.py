"""Changed copies of frozen dataclasses."""

import dataclasses

import pytest

from skdeltagrad._utils.frozen import replace


@dataclasses.dataclass(frozen=True)
class _Point:
    x: float
    y: float = 0.0


def test_a_copy_has_the_new_values_and_the_others():
    point = _Point(1.0, 2.0)
    changed = replace(point, y=3.0)
    assert changed == dataclasses.replace(point, y=3.0)
    assert point == _Point(1.0, 2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.x = 5.0


def test_a_name_that_is_no_field_is_refused():
    with pytest.raises(TypeError, match="_Point has no field 'z'"):
        replace(_Point(1.0), z=1.0)
