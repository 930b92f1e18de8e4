from rltoolkit.importance_correction import NoCorrection


def test_every_trained_token_weighs_one(correct):
    assert correct(NoCorrection(), [4.0, 0.1, 1.0], mask=[True, True, False]) == [1.0, 1.0, 0.0]
