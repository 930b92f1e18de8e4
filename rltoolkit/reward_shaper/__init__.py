"""reward_shaper"""
