"""sampler_filter"""
