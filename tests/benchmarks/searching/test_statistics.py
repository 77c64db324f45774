"""Ranks, tests and scores, on figures that are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

# Demšar 2006, table 6: AUC of four classifiers on fourteen data sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
LABELS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")


def test_mean_ranks_and_the_critical_distance_are_those_of_the_paper(searching):
    ranking = searching("ranking").ranked(DEMSAR, LABELS)
    assert ranking.mean_ranks["C4.5"] == pytest.approx(3.143, abs=1e-3)
    assert ranking.mean_ranks["C4.5+m"] == pytest.approx(2.000, abs=0.04)
    assert ranking.best in ("C4.5+m", "C4.5+m+cf")
    # 1.25 in the paper (0.05, four classifiers, fourteen data sets).
    assert ranking.critical_distance == pytest.approx(1.25, abs=0.01)
    assert ranking.p == pytest.approx(friedmanchisquare(*DEMSAR.T).pvalue)
    assert ranking.p < 0.05


def test_equal_entrants_do_not_differ(searching):
    ranking = searching("ranking").ranked(np.ones((6, 3)), "abc")
    assert ranking.p == 1
    assert set(ranking.mean_ranks.values()) == {2.0}
    assert searching("ranking").against(np.ones((6, 3)), "abc", "a") == {"b": 1.0, "c": 1.0}


def test_two_entrants_are_ranked_and_not_tested(searching):
    ranking = searching("ranking").ranked([[1.0, 2.0], [3.0, 4.0]], ("a", "b"))
    assert ranking.mean_ranks == {"a": 2.0, "b": 1.0}
    assert ranking.p is None


def test_holm_adjusts_as_by_hand(searching):
    assert searching("ranking").holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert searching("ranking").holm([0.9, 0.8]) == [1.0, 1.0]


def test_who_always_wins_differs_from_all(searching):
    generator = np.random.default_rng(0)
    scores = generator.random((12, 3))
    scores[:, 0] = scores.max(axis=1) + generator.random(12)
    p_values = searching("ranking").against(scores, ("ours", "b", "c"), "ours")
    assert max(p_values.values()) < 0.01


def record(searching, **changes):
    made = searching("jobs").Record(
        key="k",
        problem="p",
        entrant="bayesian",
        seed=0,
        setting={"budget": 60.0, "n_workers": 1, "continues": False},
        points=[[10.0, 10.0, 0.5, 0.5], [20.0, 20.0, 0.25, 0.75], [40.0, 40.0, 0.75, 0.25]],
        reference=[1.0, 1.0],
        best=0.5,
        ask_ms=[1.0, 2.0, 3.0],
        tell_ms=[0.1, 0.2, 0.3],
        busy=1.0,
        makespan=60.0,
        n_trials=60,
        cost=60.0,
        seconds=1.0,
    )
    return replace(made, **changes)


def test_shares_grow_with_cost_and_hold_what_was_known_by_then(searching):
    shares = searching("scores").shares(record(searching), (5.0, 15.0, 30.0, 60.0))
    # 0.5 * 0.5; then 0.25 * 0.25 more on either side.
    np.testing.assert_allclose(shares, [0.0, 0.5, 0.625, 0.75])


def test_scores_are_over_the_problems_that_all_entrants_have(searching):
    records = [record(searching, entrant=e, seed=s, problem=p) for e in "ab" for s in range(3) for p in ("p", "q")]
    records += [record(searching, entrant="a", problem="r"), record(searching, entrant="a", seed=9, points=[])]
    scores = searching("scores").scores_of(records)
    assert scores.problems == ("p", "q")
    assert scores.left_out == ("r",)
    assert scores.seeds == (0, 1, 2, 9)
    assert scores.values.shape == (2, 2, 3, 4)
    assert scores.n_seeds("a") == (3, 4)
    assert scores.n_seeds("b") == (3, 3)
    # The seed that found nothing is in the mean of its own entrant, and in that of no other.
    np.testing.assert_allclose(scores.means(60.0), [[0.75 * 3 / 4, 0.75], [0.75, 0.75]])
    np.testing.assert_allclose(scores.medians("b", 60.0), 0.75)


def test_paired_scores_are_over_the_seeds_that_all_have_everywhere(searching):
    records = [record(searching, entrant="a", seed=s) for s in range(3)]
    records += [record(searching, entrant="b", seed=s) for s in (1, 2, 5)]
    paired = searching("scores").scores_of(records).paired()
    assert paired.seeds == (1, 2)
    assert np.isfinite(paired.values).all()


def test_the_cost_to_reach_is_the_first_that_does(searching):
    cost_to_reach = searching("scores").cost_to_reach
    assert cost_to_reach(np.array([0.1, 0.5, 0.5]), (1.0, 2.0, 3.0), 0.5) == 2.0
    assert cost_to_reach(np.array([0.1, 0.5]), (1.0, 2.0), 0.6) is None


@pytest.fixture
def comparison(searching):
    """Returns records in which ours is as good at 15 as all peers ever are, on eight problems."""
    records = []
    for p in range(8):
        for seed in range(2):
            for peer in ("SMAC", "Hyperband", "TPE"):
                jitter = 0.6 + 0.001 * seed + 0.01 * len(peer)
                points = [[55.0, 55.0, jitter, 0.6]]
                records.append(record(searching, problem=f"p{p}", entrant=peer, seed=seed, points=points))
            records.append(record(searching, problem=f"p{p}", seed=seed))
            many = {"budget": 60.0, "n_workers": 16, "continues": False}
            records.append(record(searching, problem=f"p{p}", seed=seed, setting=many, busy=0.97))
    return records


def test_a_clear_winner_passes_each_line(searching, comparison):
    lines = searching("verdicts").verdicts(comparison, "bayesian", False)
    assert [line.passed for line in lines] == [True] * 7 + [None]
    assert "100 workers" in lines[-1].asked


def test_a_loser_fails_each_line(searching, comparison):
    lines = searching("verdicts").verdicts(comparison, "Hyperband", False)
    assert [line.passed for line in lines] == [False] * 5 + [None] * 2
    # It has no share at all at 15, as its peers have none at 30.
    assert lines[0].figures.startswith("0 of 8")


def test_idle_workers_and_lost_hypervolume_fail(searching, comparison):
    def with_many(**changes):
        return [replace(r, **changes) if r.setting["n_workers"] == 16 else r for r in comparison]

    verdicts = searching("verdicts").verdicts
    assert verdicts(with_many(busy=0.9), "bayesian", False)[-2].passed is False
    assert verdicts(with_many(points=[]), "bayesian", False)[-2].passed is False


def test_the_report_has_every_part(searching, comparison, tmp_path):
    text = searching("summary").summary(comparison, "bayesian")
    for part in (
        "8 problems, 4 entrants, 2 seeds.\n",
        "Friedman's p",
        "ours has at",
        "ask median",
        "workers",
        "passed:",
    ):
        assert part in text
    text = searching("summary").summary([*comparison, record(searching, problem="p3", seed=7)], "bayesian")
    assert "3 seeds. Fewer seeds: SMAC 2, Hyperband 2, TPE 2, bayesian 2 to 3.\n" in text
    searching("figure").draw(comparison, tmp_path / "figure.svg", "bayesian")
    assert "<svg" in (tmp_path / "figure.svg").read_text()
    with pytest.raises(ValueError, match="a figure is a"):
        searching("figure").draw(comparison, tmp_path / "figure.pdf", "bayesian")
