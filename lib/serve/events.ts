/**
 * A caption as it grows, told by server-sent events: `text` for what it reads so far, then `done` with the whole answer, or `error`.
 *
 * Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
 *
 * @module
 */

import { HttpError } from "./request_images.ts";

/** The response; it begins at once, so that errors are events too. @param onFailure is told what was the server's fault */
export function eventStream(
  caption: (onText: (text: string) => void) => Promise<Record<string, unknown>>,
  onFailure: (thrown: unknown) => void = () => {},
): Response {
  const encoder = new TextEncoder();
  const stream = new ReadableStream<Uint8Array>({
    async start(controller) {
      let isOpen = true;
      const send = (event: string, data: unknown): void => {
        if (!isOpen) return;
        try {
          controller.enqueue(encoder.encode(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
        } catch {
          isOpen = false; // the reader has gone
        }
      };
      let last = "";
      try {
        const answer = await caption((text) => {
          if (text !== last) send("text", { caption: last = text });
        });
        send("done", answer);
      } catch (error) {
        if (!(error instanceof HttpError)) onFailure(error);
        const { code, message } = error instanceof HttpError
          ? error
          : new HttpError(500, "internal", "The server failed; its log says more");
        send("error", { error: { code, message } });
      }
      if (isOpen) controller.close();
    },
  });
  return new Response(stream, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
  });
}
