"""Limits, rules, prices: what is chosen, and what is said of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from dsnn_hpo import pareto
from dsnn_hpo.errors import ChoiceError, InputError
from dsnn_hpo.journal import Asked, History, Mark, Told
from dsnn_hpo.report import choice_json, choice_table, choose, price_lines, prices, wishes_of
from dsnn_hpo.trial import Provenance, Result, Trial, TrialState
from tests.report.synthetic import FIDELITY, header, history, prefix

# Error, joules: a front of four, and one that is dominated.
FRONT = [(0.05, 8.0), (0.08, 2.0), (0.09, 1.5), (0.30, 1.0), (0.31, 9.0)]


def run(points=FRONT, objectives=("error", "inference_energy_j"), widths=(None, None), **figures) -> History:
    """Returns a run whose trials have these values, with half intervals of these widths, and further figures of all."""
    events = [Mark("started", 1.0)]
    for i, point in enumerate(points):
        trial = Trial(i, {"lr": float(i)}, FIDELITY.max_epochs, 0)
        values = {**dict(zip(objectives, point, strict=True)), **{name: each[i] for name, each in figures.items()}}
        how = {
            name: Provenance("m", "measured", "machine", "h", width)
            for name, width in zip(objectives, widths, strict=False)
            if width is not None
        }
        events += [Asked(trial, 2.0 + i), Told(Result(trial, TrialState.COMPLETED, values, provenance=how), 2.5 + i)]
    return History(header(objectives), [*events, Mark("finished", 99.0)])


def chosen(whole: History, **wishes) -> int | None:
    member = choose(whole, wishes_of(whole, **wishes)).chosen
    return None if member is None else member.trial.id


def test_nothing_is_asked_for():
    assert wishes_of(run()) is None


def test_the_objective_without_limit_decides():
    assert chosen(run(), maxima=["energy=2"]) == 1
    assert chosen(run(), minima=["accuracy=0.91"]) == 2
    assert chosen(run(), minima=["accuracy=91%"]) == 2
    assert chosen(run(), maxima=["error=0.09"]) == 2


def test_a_limit_may_be_reached_exactly():
    # 1 - 0.07 is 0.9299999999999999.
    assert chosen(run([(0.07, 1.0), (0.08, 0.5)]), minima=["accuracy=0.93"]) == 0


def test_limits_on_everything_weigh_the_same():
    choice = choose(run(), wishes_of(run(), maxima=["energy=9"], minima=["accuracy=0.5"]))
    assert [m.trial.id for m in choice.satisfied] == sorted(choice.scores, key=choice.scores.get)
    assert "which weigh the same" in choice.why


def test_the_only_one_that_is_left():
    choice = choose(run(), wishes_of(run(), maxima=["energy=2"], minima=["accuracy=0.92"]))
    assert choice.why == "Trial 1 is the only member with inference energy ≤ 2 and accuracy ≥ 0.92."


def test_figures_that_are_no_objectives_have_limits_too():
    sizes = {"model_size_bytes": [900, 500, 700, 400, 100]}
    whole = run(**sizes)
    choice = choose(whole, wishes_of(whole, maxima=["size=700"]))
    assert {m.trial.id for m in choice.satisfied} == {1, 2, 3}
    assert "model size" in choice_table(whole, choice).header


def test_the_knee_is_that_of_the_table_if_it_keeps_the_limits():
    members = run().front()
    knee = members[pareto.knee(pareto.losses_of(members, run().objectives))].trial.id
    assert chosen(run(), knee=True) == knee
    choice = choose(run(), wishes_of(run(), knee=True, minima=["accuracy=0.95"]))
    assert choice.chosen.trial.id == 0
    assert choice.why.startswith(f"The front's knee, trial {knee}, does not keep the limits")


def test_weights_move_the_choice_from_cheap_to_accurate():
    moved = [chosen(run(), prefer=f"accuracy:{weight},energy:1") for weight in (0.01, 1, 100)]
    assert moved == sorted(moved, reverse=True)
    assert (moved[0], moved[-1]) == (3, 0)
    assert chosen(run(), prefer="accuracy:1") == 0


def test_a_ranking_is_shown_best_first_with_scores():
    whole = run()
    choice = choose(whole, wishes_of(whole, prefer="accuracy:2,energy:1"))
    table = choice_table(whole, choice)
    assert table.header[:3] == ("", "trial", "score")
    scores = [float(row[2]) for row in table.rows]
    assert scores == sorted(scores)
    assert [row[0] for row in table.rows] == ["→", "", "", ""]
    assert all(len(row) == len(table.header) for row in table.rows)


def test_limits_do_not_change_the_ranking():
    everyone = [m.trial.id for m in choose(run(), wishes_of(run(), prefer="error:1,energy:1")).satisfied]
    some = choose(run(), wishes_of(run(), prefer="error:1,energy:1", maxima=["energy=2"])).satisfied
    assert [m.trial.id for m in some] == [trial for trial in everyone if trial != 0]


def test_none_satisfies_and_the_nearest_is_named():
    choice = choose(run(), wishes_of(run(), maxima=["energy=1.6"], minima=["accuracy=0.92"]))
    assert (choice.chosen, choice.nearest.trial.id) == (None, 2)
    assert choice.why == (
        "No member of the front has inference energy ≤ 1.6 and accuracy ≥ 0.92. "
        "The nearest is trial 2: accuracy 0.91 is 0.01 below 0.92."
    )


def test_a_figure_that_a_member_lacks_is_a_limit_missed():
    whole = run()
    events = [
        replace(e, result=replace(e.result, values={**e.result.values, "co2_g": 1.0}))
        if isinstance(e, Told) and e.result.trial.id == 3
        else e
        for e in whole.events
    ]
    whole = History(whole.header, events)
    choice = choose(whole, wishes_of(whole, maxima=["co2=5"]))
    assert [m.trial.id for m in choice.satisfied] == [3]
    missed = choose(whole, wishes_of(whole, maxima=["co2=0.5"]))
    data = json.loads(json.dumps(choice_json(whole, missed), allow_nan=False))
    assert data["choice"]["nearest"] == 3
    assert data["choice"]["misses"] == {"CO2 ≤ 0.5": 0.5}


def test_an_empty_front_offers_no_choice():
    empty = prefix(history(), 1)
    with pytest.raises(ChoiceError, match="nothing to choose from: none of 0 trials"):
        choose(empty, wishes_of(empty, knee=True))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"maxima": ["enrgy=1"]}, "no figure 'enrgy'"),
        ({"maxima": ["inference_energi_j=1"]}, "did you mean 'inference_energy_j'"),
        ({"maxima": ["energy"]}, "a limit is NAME=VALUE"),
        ({"maxima": ["energy=much"]}, "'much' is no number"),
        ({"maxima": ["energy=nan"]}, "not finite"),
        ({"maxima": ["energy=50%"]}, "'50%' is no number"),
        ({"minima": ["accuracy=90"]}, "write 0.9 or 90%"),
        ({"maxima": ["energy=1"], "minima": ["energy=2"]}, "no figure can have both"),
        ({"knee": True, "prefer": "error:1"}, "give one of them"),
        ({"prefer": "error"}, "preferences are NAME:WEIGHT"),
        ({"prefer": "error:0"}, "a weight is above 0"),
        ({"prefer": "error:1,accuracy:2"}, "error is given twice"),
        ({"prefer": "size:1"}, "no objective 'size'"),
        ({"prefer": ""}, "preferences are NAME:WEIGHT"),
    ],
)
def test_mistakes_are_explained(options, says):
    with pytest.raises(InputError) as caught:
        wishes_of(run(), **options)
    assert says in str(caught.value)


def test_a_short_name_of_two_objectives_is_ambiguous_but_an_objective_comes_before_a_figure():
    two = run([(1.0, 2.0)], ("inference_energy_j", "train_energy_j"))
    with pytest.raises(InputError, match="'energy' may be any of inference_energy_j, train_energy_j"):
        wishes_of(two, prefer="energy:1")
    with pytest.raises(InputError, match="no figure 'accuracy'"):
        wishes_of(two, minima=["accuracy=0.5"])
    assert wishes_of(run(train_energy_j=[1.0] * 5), maxima=["energy=1"]).limits[0].name == "inference_energy_j"


def test_prices_are_linear_between_neighbours():
    found = {price.trial: price for price in prices(run())}
    assert set(found) == {1, 2, 3}
    assert (found[1].extra, found[1].percent, found[1].points) == pytest.approx((2.0, 100.0, 1.0))
    assert found[2].extra == pytest.approx(0.5)
    assert found[3].extra == pytest.approx(0.5 / 21)
    assert all(price.ci95 is None and not price.overlapping for price in found.values())


def test_prices_of_what_is_maximised_fall():
    whole = run([(0.05, 100.0), (0.07, 300.0)], ("error", "samples_per_s"))
    (price,) = prices(whole)
    assert (price.extra, price.percent) == pytest.approx((-100.0, -100 / 3))


def test_overlapping_intervals_are_not_distinguishable():
    whole = run(widths=(0.006, 0.1))
    found = {price.trial: price for price in prices(whole)}
    assert found[2].overlapping == ("error",)
    assert found[1].overlapping == ()
    wide = {price.trial: price for price in prices(run(widths=(0.006, 0.3)))}
    assert wide[2].overlapping == ("error", "inference_energy_j")
    lines = price_lines(whole, 2)
    assert lines[0].endswith("not distinguishable: the intervals of error overlap.")
    # A third of the way to the next one: 1/3 of the difference of two figures of ± 0.1 each.
    assert found[1].ci95 == pytest.approx(math.hypot(0.1, 0.1) / 3)


def test_the_most_accurate_has_no_next_point():
    first, second = price_lines(run(), 0)
    assert first == "There is no next point of accuracy: no member has a smaller error than trial 0."
    assert second.startswith(
        "The last one, from trial 1 towards trial 0: +2 J/1000 samples of inference energy (+100 %)"
    )


def test_without_a_trial_the_price_is_that_of_the_knee():
    (line,) = price_lines(run())
    assert line.startswith("The next point of accuracy, from trial 2, the knee, towards trial 1: +0.5 J/1000 samples")


def test_what_is_left_of_a_point_is_said():
    (line,) = price_lines(run([(0.100, 3.0), (0.104, 1.0)]), 1)
    assert "+2 J/1000 samples of inference energy (+200 %) for the 0.4 points that are left" in line


@pytest.mark.parametrize("objectives", [("error",), ("inference_energy_j", "model_size_bytes")])
def test_without_error_and_cost_there_is_no_price(objectives):
    whole = history(45, objectives)
    assert (price_lines(whole), prices(whole)) == ([], [])


def test_json_is_null_where_nothing_was_asked():
    data = choice_json(run(), None)
    assert data["choice"] is None
    assert [price["trial"] for price in data["prices"]] == [1, 2, 3]


def test_three_objectives_have_two_prices_each():
    whole = history(72, ("error", "inference_energy_j", "model_size_bytes"))
    table = choice_table(whole, choose(whole, wishes_of(whole, knee=True)))
    assert table.header[-2:] == ("next point of accuracy (J/1000 samples)", "next point of accuracy (B)")
    found = prices(whole)
    best = min(whole.front(), key=lambda m: m.values["error"]).trial.id
    assert {p.trial for p in found} == {m.trial.id for m in whole.front()} - {best}
