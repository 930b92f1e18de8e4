"""rollout_engine"""
