from rltoolkit.sampler_filter import KeepAll


def test_every_group_is_kept(mixed_rollouts):
    assert KeepAll()(mixed_rollouts).tolist() == [True, True, True]
