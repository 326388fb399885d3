"""As much of CloudWatch as our alarms use: metric math over points that come late or never, and the state.

After "Evaluating an alarm" and "How alarms treat missing data" in the CloudWatch user guide.
"""

import ast
import operator
from dataclasses import dataclass
from functools import cache
from string import Template

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
    ast.Eq: operator.eq,
}
COMPARISONS = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
}
# How many more periods than asked for CloudWatch looks back for points where some are missing.
# The guide shows five for an alarm over three.
FURTHER_PERIODS = 2


class Metrics:
    """Points by metric and minute, each with the minute from which CloudWatch has it."""

    def __init__(self):
        self._points = {}

    def put(self, metric, minute, value, available_at=None):
        self._points.setdefault(metric, {})[minute] = (
            value,
            minute + 1 if available_at is None else available_at,
        )

    def point(self, metric, statistic, minutes, now):
        """The statistic over the minutes, of the points that are there now; None if there are none."""
        points = self._points.get(metric, {})
        there = [points[it][0] for it in minutes if it in points and points[it][1] <= now]
        return {"Maximum": max, "Minimum": min, "Sum": sum}[statistic](there) if there else None


@dataclass(frozen=True)
class Alarm:
    """One alarm of a template, with its parameters put in."""

    name: str
    queries: dict
    expression: ast.expr
    period_min: int
    periods: int
    breaches: object
    threshold: float
    missing_breaches: bool

    @classmethod
    def of(cls, name, properties, parameters):
        queries, expression = _queries(properties)
        [period_s] = {it[2] for it in queries.values()}
        return cls(
            name=name,
            queries=queries,
            expression=ast.parse(_filled_in(expression, parameters), mode="eval").body,
            period_min=period_s // 60,
            periods=_resolved(properties["EvaluationPeriods"], parameters),
            breaches=COMPARISONS[properties["ComparisonOperator"]],
            threshold=_resolved(properties["Threshold"], parameters),
            missing_breaches=properties["TreatMissingData"] == "breaching",
        )

    def rings(self, metrics, now):
        """True if the state is ALARM: the newest points there are breach, and those that lack would."""
        last = now // self.period_min
        breaching = 0
        for period in range(last - 1, last - 1 - self.periods - FURTHER_PERIODS, -1):
            point = self.value(metrics, period, now)
            if point is None:
                continue
            if not self.breaches(point, self.threshold):
                return False
            breaching += 1
            if breaching == self.periods:
                return True
        return self.missing_breaches

    def value(self, metrics, period, now):
        minutes = range(period * self.period_min, (period + 1) * self.period_min)
        points = {name: metrics.point(it[0], it[1], minutes, now) for name, it in self.queries.items()}
        return _value(self.expression, tuple(points.items()))


@cache
def _value(expression, points):
    """Remembered, since the same few points come again all day."""
    return _evaluated(expression, dict(points))


def _queries(properties):
    """{id: (metric, statistic, period in seconds)} and the expression over them."""
    if "Metrics" not in properties:
        metric = _metric(properties)
        return {"it": (metric, properties["Statistic"], properties["Period"])}, "it"
    stats = {it["Id"]: it["MetricStat"] for it in properties["Metrics"] if "MetricStat" in it}
    [expression] = [it["Expression"] for it in properties["Metrics"] if it.get("ReturnData", True)]
    return {name: (_metric(it["Metric"]), it["Stat"], it["Period"]) for name, it in stats.items()}, expression


def _metric(described):
    """(what it is about, its name), e.g. ("Queue", "ApproximateNumberOfMessagesVisible")."""
    [about, *_] = [*described["Dimensions"][-1]["Value"].values()]
    return about[0] if isinstance(about, list) else about, described["MetricName"]


def _filled_in(expression, parameters):
    return (
        Template(expression["Fn::Sub"]).substitute(parameters) if isinstance(expression, dict) else expression
    )


def _resolved(value, parameters):
    return parameters[value["Ref"]] if isinstance(value, dict) else value


def _evaluated(node, points):
    """The value of an expression where these are the points; None where it has no point."""
    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return points[name]
        case ast.Call(ast.Name("FILL"), [series, filler]):
            value = _evaluated(series, points)
            return _evaluated(filler, points) if value is None else value
    operands = [_evaluated(it, points) for it in _operands(node)]
    if None in operands:
        return None
    if isinstance(node, ast.Call):
        condition, then, otherwise = operands
        return then if condition else otherwise
    [operation] = node.ops if isinstance(node, ast.Compare) else [node.op]
    if isinstance(operation, ast.Div) and operands[1] == 0:
        return None
    return OPERATORS[type(operation)](*operands)


def _operands(node):
    match node:
        case ast.Call(ast.Name("IF"), arguments):
            return arguments
        case ast.BinOp(left, _, right) | ast.Compare(left, _, [right]):
            return [left, right]
    raise NotImplementedError(ast.unparse(node))
