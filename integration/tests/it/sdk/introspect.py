"""Checks our introspection answer with graphql-core, the reference implementation in Python.

Argument: the server's URL. Reads a document that must be valid from standard input, and
prints what was found as JSON.
"""

import json
import sys
import urllib.request

import graphql
from graphql import build_client_schema, get_introspection_query, parse, print_schema, validate, validate_schema

URL, DOCUMENT = sys.argv[1], sys.stdin.read()


def ask(query):
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(URL, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def schema_of(**options):
    answer = ask(get_introspection_query(**options))
    assert "errors" not in answer, answer
    return build_client_schema(answer["data"])


schema = schema_of(
    specified_by_url=True,
    directive_is_repeatable=True,
    schema_description=True,
    input_value_deprecation=True,
)
errors = [str(error) for error in validate_schema(schema)]
errors += [str(error) for error in validate(schema, parse(DOCUMENT))]
wrong = validate(schema, parse("{ container { from(adress: 1) { nothing } } }"))
answer = ask(DOCUMENT)
print(
    json.dumps(
        {
            "errors": errors,
            "wrong": len(wrong),
            "data": answer.get("data"),
            "same": print_schema(schema) == print_schema(schema_of()),
            "interfaces": [str(i) for i in schema.get_type("Container").interfaces],
            "version": graphql.__version__,
        }
    )
)
