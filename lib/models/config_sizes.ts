/**
 * Sizes in configurations, bounded before anything is allocated or divided by them.
 *
 * @module
 */

import type { JsonConfig } from "../format/json_config.ts";

/** Largest width, count of rows or positions that is believed. */
const MAX_SIZE = 2 ** 24;
/** Keys that count layers, and the most there may be. */
const LAYER_KEYS = ["num_hidden_layers", "n_layer"];
const MAX_LAYERS = 1024;

/**
 * A whole number from 1 to 2^24 (layers: to 1024).
 *
 * @param fallback what the key means when it is absent; without one it is required
 * @throws {RangeError} naming file and key, when it is missing or out of bounds
 */
export function readSize(config: JsonConfig, key: string, fallback?: number): number {
  const value = fallback === undefined ? config.integer(key) : config.optionalInteger(key) ?? fallback;
  const most = LAYER_KEYS.includes(key) ? MAX_LAYERS : MAX_SIZE;
  if (value < 1 || value > most) {
    throw new RangeError(`Cannot use "${config.name}": "${key}" is ${value}, expected 1 to ${most}`);
  }
  return value;
}

/**
 * A number above 0, such as the epsilon of a norm.
 *
 * @throws {RangeError} naming file and key
 */
export function readPositive(config: JsonConfig, key: string, fallback: number): number {
  const value = config.optionalNumber(key) ?? fallback;
  if (!(value > 0)) {
    throw new RangeError(`Cannot use "${config.name}": "${key}" is ${value}, expected a number above 0`);
  }
  return value;
}
