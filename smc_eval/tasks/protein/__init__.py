"""Proteins: predicting thermostability from the sequence."""
