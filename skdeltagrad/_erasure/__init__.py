"""A search for removed rows in any Python object, estimators and dumps among them."""
