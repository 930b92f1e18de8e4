from rltoolkit.prompt_sampler import Sequential


def test_the_tasks_own_order_in_every_pass():
    assert Sequential()(4, 0, 0).tolist() == [0, 1, 2, 3]
    assert Sequential()(4, 3, 7).tolist() == [0, 1, 2, 3]
