"""reward_function"""
