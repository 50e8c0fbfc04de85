"""Predicts the class of one flower with the model that the plain script saved."""

import sys

import pandas as pd
import skops.io

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]

model = skops.io.load("data/outputs/model.skops", trusted=["numpy.dtype"])
row = pd.DataFrame([[float(value) for value in sys.argv[1:]]], columns=FEATURES)
print(model.predict(row)[0], model.predict_proba(row).max())
