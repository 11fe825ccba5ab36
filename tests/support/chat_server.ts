/**
 * A server with OpenAI's interface for chats, on this machine, that also fails: each request meets the next fault of a list.
 *
 * @module
 */

/** What goes wrong with a request. */
export type ChatFault =
  /** The server's own error. */
  | { status: number; retryAfter?: string; message?: string }
  /** Headers, a piece of the body, and then nothing. */
  | "stall"
  /** The connection breaks off. */
  | "break"
  /** 200 with a body that is no JSON. */
  | "garbage"
  /** What the model says is no JSON. */
  | { says: string }
  /** What the model says of each row, in place of a good caption. */
  | { altText: string }
  /** One row too few. */
  | "short";

/** A request as the server saw it. */
export interface SeenRequest {
  readonly authorization: string | null;
  readonly body: {
    readonly model: string;
    readonly temperature?: number;
    readonly response_format?: unknown;
    readonly messages: readonly { readonly role: string; readonly content: unknown }[];
  };
  /** Captions of the rows that it asked about. */
  readonly rows: readonly (readonly string[])[];
  /** Images that came with it. */
  readonly images: readonly string[];
  readonly atMs: number;
}

/** A running server. */
export interface ChatServer extends AsyncDisposable {
  /** For `--api-base`. */
  readonly apiBase: string;
  readonly requests: SeenRequest[];
}

/** Options of {@linkcode startChatServer}. */
export interface ChatServerOptions {
  /** What becomes of the first requests, one after the other; `undefined` lets one succeed. Later ones succeed. */
  faults?: readonly (ChatFault | undefined)[];
  /** Rows whose captions say this are never answered as they should be. */
  neverFor?: string;
  /** Leaves out the count of tokens. */
  withoutUsage?: boolean;
}

/** Starts the server. Good answers say "A thing number N on a table." */
export function startChatServer(options: ChatServerOptions = {}): ChatServer {
  const requests: SeenRequest[] = [];
  const open = new Set<ReadableStreamDefaultController>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    if (new URL(request.url).pathname !== "/v1/chat/completions") return new Response(null, { status: 404 });
    const body: SeenRequest["body"] = await request.json();
    const parts = body.messages.at(-1)!.content as {
      text?: string;
      image_url?: { url: string };
    }[];
    const rows = parts.flatMap(({ text }) => {
      const [, list] = /^Image \d+: (\[.*\])/.exec(text ?? "") ?? [];
      return list === undefined ? [] : [JSON.parse(list) as string[]];
    });
    const images = parts.flatMap(({ image_url }) => image_url === undefined ? [] : [image_url.url]);
    const fault = options.faults?.[requests.length];
    requests.push({
      authorization: request.headers.get("authorization"),
      body,
      rows,
      images,
      atMs: performance.now(),
    });
    return answer(fault, rows);
  });

  function answer(fault: ChatFault | undefined, rows: readonly (readonly string[])[]): Response {
    if (fault === "garbage") return new Response("<html>busy</html>");
    if (fault === "stall" || fault === "break") {
      let mine: ReadableStreamDefaultController | undefined;
      return new Response(
        new ReadableStream({
          start(controller) {
            mine = controller;
            controller.enqueue(new TextEncoder().encode('{"choices": ['));
            if (fault === "break") controller.error(new Error("broken on purpose"));
            else open.add(controller);
          },
          cancel: () => void open.delete(mine!),
        }),
      );
    }
    if (typeof fault === "object" && "status" in fault) {
      const { status, retryAfter, message = "on purpose" } = fault;
      return Response.json({ error: { message } }, {
        status,
        headers: retryAfter === undefined ? {} : { "retry-after": retryAfter },
      });
    }
    if (typeof fault === "object" && "says" in fault) return said(fault.says);
    const list = rows.map((captions, place) => ({
      number: place + 1,
      alt_text: typeof fault === "object"
        ? fault.altText
        : captions.some((caption) => options.neverFor !== undefined && caption.includes(options.neverFor))
        ? "A man"
        : `A thing number ${place + 1} on a table.`,
      objects: ["thing", "table"],
    }));
    return said(JSON.stringify({ images: fault === "short" ? list.slice(1) : list }));
  }

  function said(content: string): Response {
    return Response.json({
      choices: [{ message: { role: "assistant", content } }],
      ...(!options.withoutUsage && { usage: { prompt_tokens: 1000, completion_tokens: 100 } }),
    });
  }

  return {
    apiBase: `http://127.0.0.1:${server.addr.port}/v1`,
    requests,
    async [Symbol.asyncDispose]() {
      for (const controller of open) controller.error(new Error("the server ends"));
      await server.shutdown();
    },
  };
}
