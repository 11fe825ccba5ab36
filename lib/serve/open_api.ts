/**
 * The interface described for programs, as OpenAPI 3.1.
 *
 * @module
 */

import type { JsonObject, JsonValue } from "../format/json.ts";
import { OPTION_FIELDS } from "../models/caption_options.ts";

const reference = (name: string): JsonObject => ({ $ref: `#/components/schemas/${name}` });
const answer = (description: string, schema: JsonObject, type = "application/json"): JsonObject => ({
  description,
  content: { [type]: { schema } },
});
const ERRORS: JsonObject = Object.fromEntries(
  [
    ["400", "The request cannot be read, or an option is wrong"],
    ["401", "The token is missing or wrong"],
    ["413", "Too large, or too many images"],
    ["415", "Another kind of body"],
    ["422", "The image cannot be decoded"],
    ["429", "Too many images wait; Retry-After says when to try again"],
    ["500", "The server failed"],
    ["503", "Took too long, or the server is shutting down"],
  ].map(([status, description]) => [status!, answer(description!, reference("Error"))]),
);

/** The description. */
export function openApi(): JsonObject {
  const options: JsonObject = Object.fromEntries(
    Object.entries(OPTION_FIELDS).map(([name, { whole, min, max, description }]) => [
      name,
      { type: whole ? "integer" : "number", minimum: min, maximum: max, description },
    ]),
  );
  const query: JsonValue[] = Object.entries(options).map(([name, schema]) => ({
    name,
    in: "query",
    schema: schema!,
  }));
  const file: JsonObject = { type: "string", format: "binary" };
  const base64: JsonObject = { type: "string", description: "Base64, or a data URL of it" };
  const body = (one: boolean): JsonObject => ({
    required: true,
    content: {
      "multipart/form-data": {
        schema: {
          type: "object",
          properties: { [one ? "image" : "images"]: one ? file : { type: "array", items: file }, ...options },
        },
      },
      "application/json": {
        schema: {
          type: "object",
          properties: one ? { image: base64, url: { type: "string", format: "uri" }, ...options } : {
            images: { type: "array", items: base64 },
            urls: { type: "array", items: { type: "string", format: "uri" } },
            ...options,
          },
        },
      },
      ...(one ? { "image/*": { schema: file }, "application/octet-stream": { schema: file } } : {}),
    },
  });
  return {
    openapi: "3.1.0",
    info: { title: "Captions for images", version: "1" },
    paths: {
      "/api/caption": {
        post: {
          summary: "Caption one image",
          security: [{}, { token: [] }],
          parameters: query,
          requestBody: body(true),
          responses: {
            200: {
              description: "The caption; of those who accept text/event-stream, as it grows",
              content: {
                "application/json": { schema: reference("Caption") },
                "text/event-stream": {
                  schema: {
                    type: "string",
                    description: "Events: text, then done with a Caption or error with an Error",
                  },
                },
              },
            },
            ...ERRORS,
          },
        },
      },
      "/api/caption/batch": {
        post: {
          summary: "Caption several images; a bad one gives its error, the others their captions",
          security: [{}, { token: [] }],
          parameters: query,
          requestBody: body(false),
          responses: { 200: answer("A result for every image, in order", reference("Results")), ...ERRORS },
        },
      },
      "/api/models": {
        get: {
          summary: "The model",
          security: [{}, { token: [] }],
          responses: { 200: answer("Models", reference("Models")), 401: ERRORS["401"]! },
        },
      },
      "/healthz": {
        get: {
          summary: "Whether requests are taken",
          responses: { 200: { description: "Yes" }, 503: { description: "Shutting down" } },
        },
      },
      "/metrics": {
        get: {
          summary: "Figures for Prometheus",
          responses: { 200: answer("Text", { type: "string" }, "text/plain") },
        },
      },
    },
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas: {
        Caption: {
          type: "object",
          required: ["caption", "log_probability", "tokens"],
          properties: {
            model: { type: "string" },
            caption: { type: "string" },
            log_probability: { type: "number", description: "Of all tokens together, natural logarithm" },
            log_probability_per_token: { type: "number" },
            image_gain: {
              type: "number",
              description: "How much the image raises log_probability over a blank image",
            },
            image_gain_per_token: { type: "number" },
            tokens: { type: "integer" },
            out_of_domain: { type: "boolean", description: "The model was made for other images" },
          },
        },
        Error: {
          type: "object",
          properties: {
            error: { type: "object", properties: { code: { type: "string" }, message: { type: "string" } } },
          },
        },
        Results: {
          type: "object",
          properties: {
            model: { type: "string" },
            results: { type: "array", items: { anyOf: [reference("Caption"), reference("Error")] } },
          },
        },
        Models: {
          type: "object",
          properties: {
            models: {
              type: "array",
              items: {
                type: "object",
                properties: {
                  id: { type: "string" },
                  encoder: { type: "string" },
                  decoder: { type: "string" },
                  max_length: { type: "integer" },
                },
              },
            },
          },
        },
      },
    },
  };
}
