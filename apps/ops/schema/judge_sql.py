"""Judging by the text of the SQL alone, as for RunSQL and operations of other packages."""

from __future__ import annotations

import re

from apps.ops.schema.rulings import AFTER, Ruling, Surroundings, contract, expand, indexed

_NOISE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_CLAUSE_END = re.compile(r";|,(?=\s*(?:ADD|ALTER|DROP)\b)", re.IGNORECASE)
_BREAKS = {
    r"\bDROP\s+(?!INDEX|CONSTRAINT|TRIGGER|RULE|POLICY|NOT\s+NULL|IDENTITY|EXPRESSION)": (
        "it drops what the live release may use"
    ),
    r"\bRENAME\b": "it renames what the live release may use",
    r"\bSET\s+NOT\s+NULL\b": "the live release may still write NULL",
    r"\bALTER\s+(COLUMN\s+)?\S+\s+(SET\s+DATA\s+)?TYPE\b": "it changes the type of a column",
    r"\bTRUNCATE\b": "it empties a table of the live release",
    r"\bADD\s+(CONSTRAINT|UNIQUE|CHECK|FOREIGN|PRIMARY|EXCLUDE)\b": (
        "the live release may write what it forbids"
    ),
    r"\bADD\b(?!.*\b(DEFAULT|GENERATED)\b).*\bNOT\s+NULL\b": (
        "the live release's INSERTs do not fill a NOT NULL column"
    ),
    r"\bCREATE\s+UNIQUE\s+INDEX\b": "the live release may write what it forbids",
}
_INDEX = re.compile(
    r"\bCREATE\s+INDEX\s+(?!CONCURRENTLY)[^;]*?\bON\s+(?:ONLY\s+)?([\w.\"]+)", re.IGNORECASE
)


def judge_sql(sql: str | None, around: Surroundings) -> Ruling:
    """What the operation is; `sql` is None when it is not known."""
    if sql is None:
        return expand("what it runs could not be told beforehand: not looked into")
    text = _NOISE.sub(" ", sql)
    for clause in _CLAUSE_END.split(text):
        for pattern, why in _BREAKS.items():
            if re.search(pattern, clause, re.IGNORECASE | re.DOTALL):
                return contract(why, AFTER)
    for found in _INDEX.finditer(text):
        ruling = indexed(found[1].replace('"', ""), around)
        if ruling[0] != "expand":
            return "long lock", ruling[1], "Use CREATE INDEX CONCURRENTLY with atomic = False"
    return expand("SQL in which nothing was found that breaks the live release")
