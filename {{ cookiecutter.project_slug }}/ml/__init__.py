"""The machine learning, in plain pandas and scikit-learn: change it as you like.

It knows nothing of Prefect, of the project's folders or of settings.
"""
