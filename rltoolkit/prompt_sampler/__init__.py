"""prompt_sampler"""
