/** The types of the API, by operation. */

import { OPERATIONS } from "./operations.js";
import type { components, operations } from "./schema.js";

export type Schemas = components["schemas"];
export type Job = Schemas["Job"];
export type JobRequest = Schemas["JobRequestBody"];
export type Problem = Schemas["Problem"];

/** The id of an operation of `/openapi.json`. */
export type OperationId = keyof typeof OPERATIONS & keyof operations;

type Parameters<K extends OperationId, Place extends "path" | "query"> =
  operations[K]["parameters"] extends { [P in Place]?: infer T } ? T : never;

type Body<K extends OperationId> = operations[K] extends {
  requestBody?: { content: { "application/json": infer T } };
}
  ? T
  : never;

type Required<Name extends string, T> = [T] extends [never]
  ? { [P in Name]?: never }
  : undefined extends T
    ? { [P in Name]?: Exclude<T, undefined> }
    : { [P in Name]: T };

/** What an operation takes: names in its path, query parameters, and a body. */
export type Arguments<K extends OperationId> = Required<"path", Parameters<K, "path">> & {
  query?: NonNullable<Parameters<K, "query">>;
} & (operations[K] extends { requestBody: unknown }
    ? { body: Body<K> }
    : { body?: NonNullable<Body<K>> });

type Success = 200 | 201 | 202;

type Content<T> = T extends { content: infer C } ? C[keyof C] : never;

/** What an operation answers. */
export type Answer<K extends OperationId> = Content<
  operations[K]["responses"][keyof operations[K]["responses"] & Success]
>;

/** The operations that answer a page of a list. */
export type ListOperationId = {
  [K in OperationId]: Answer<K> extends { items: unknown[]; next_cursor: unknown } ? K : never;
}[OperationId];

/** An item of a list. */
export type Item<K extends ListOperationId> = Answer<K> extends { items: (infer T)[] } ? T : never;
