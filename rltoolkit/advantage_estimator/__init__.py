"""advantage_estimator"""
