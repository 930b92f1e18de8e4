"""What the processes of a run agree upon."""

import os
import socket
from pathlib import Path

import pytest

from rltoolkit.training import ranks
from rltoolkit.training.errors import RankLost


def test_alone_a_process_agrees_with_itself(process_group):
    ranks.join()  # no launcher has started others: nothing to join
    assert ranks.agree(lambda: "runs/mine") == "runs/mine"
    assert ranks.all_gather_objects(7) == [7]
    with pytest.raises(ZeroDivisionError):
        ranks.agree(lambda: 1 / 0)


def test_the_first_ranks_decision_or_its_refusal_is_everyones(two_ranks):
    assert two_ranks["agreement"] == [["runs/started-by-0", "rank 0 refuses", [{"rank": 0}, {"rank": 1}]]] * 2


def test_a_model_is_made_by_whichever_rank_comes_first(two_ranks):
    # with a process group transformers would save nothing on the second rank
    _, files = two_ranks["model"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)


def test_each_rank_reads_its_part_of_a_model(two_ranks):
    for missing, different, share, tied, stale in two_ranks["parts"]:
        assert (missing, different, tied, stale) == (0, [], True, [])
        assert share == pytest.approx(0.5, abs=0.01)


def test_a_thread_exchanges_with_other_ranks_while_training_does(two_ranks):
    assert two_ranks["thread"] == [[True, True]] * 2


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_connections_are_asked_after_and_no_descriptor_stays_open(tmp_path):
    with (
        (tmp_path / "no socket").open("w"),
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as connection,
    ):
        before = len(os.listdir("/proc/self/fd"))
        ranks.ask_after_peers()
        assert len(os.listdir("/proc/self/fd")) == before
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000


def test_a_collective_that_fails_because_a_process_is_gone_says_so():
    gloo = "[/build/gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.77.0.2]:26323. This is typically"
    with (
        pytest.raises(RankLost, match=r"the network to it: Connection closed by peer \[10\.77\.0\.2\]:26323\."),
        ranks.naming_lost_ranks(),
    ):
        raise RuntimeError(gloo)
    with pytest.raises(RuntimeError, match="a bug") as other, ranks.naming_lost_ranks():
        raise RuntimeError("a bug")
    assert not isinstance(other.value, RankLost)
