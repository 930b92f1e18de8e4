"""importance_correction"""
