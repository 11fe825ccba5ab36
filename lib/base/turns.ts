/**
 * One at a time: calls that share something wait for one another.
 *
 * @module
 */

/** A queue of work. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** Starts the work when all that was given before has ended, well or not, and gives what it gives. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {}); // told to whoever waits for that turn
    return turn;
  }
}
