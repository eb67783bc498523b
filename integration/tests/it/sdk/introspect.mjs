// Checks our introspection answer with graphql-js, the reference implementation; see introspect.py.

import { readFileSync } from "node:fs"
import {
  buildClientSchema,
  getIntrospectionQuery,
  parse,
  printSchema,
  validate,
  validateSchema,
  version,
} from "graphql"

const url = process.argv[2]
const document = readFileSync(0, "utf8")

async function ask(query) {
  const headers = { "content-type": "application/json" }
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify({ query }) })
  return await answer.json()
}

async function schemaOf(options) {
  const answer = await ask(getIntrospectionQuery(options))
  if (answer.errors) throw new Error(JSON.stringify(answer.errors))
  return buildClientSchema(answer.data)
}

const schema = await schemaOf({
  specifiedByUrl: true,
  directiveIsRepeatable: true,
  schemaDescription: true,
  inputValueDeprecation: true,
})
const errors = [...validateSchema(schema), ...validate(schema, parse(document))].map(String)
const wrong = validate(schema, parse("{ container { from(adress: 1) { nothing } } }"))
console.log(
  JSON.stringify({
    errors,
    wrong: wrong.length,
    data: (await ask(document)).data,
    same: printSchema(schema) === printSchema(await schemaOf({})),
    interfaces: schema.getType("Container").getInterfaces().map(String),
    version,
  }),
)
