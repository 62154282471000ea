/** A stream to a runtime's socket. */

import { Duplex } from "node:stream";
import { promise } from "./native.js";
import type { NativeConnection } from "./native.js";

const PIECE_BYTES = 64 << 10;

/** A stream to a runtime's socket. It ends with the ref that opened it. */
export class Connection extends Duplex {
  readonly #native: NativeConnection;

  /** @internal */
  constructor(native: NativeConnection) {
    super({ allowHalfOpen: false, readableHighWaterMark: PIECE_BYTES });
    this.#native = native;
  }

  /** @internal */
  override _read(): void {
    promise<Buffer>((done) => this.#native.read(PIECE_BYTES, done)).then(
      (piece) => this.push(piece.length === 0 ? null : piece),
      (error: Error) => this.destroy(error),
    );
  }

  /** @internal */
  override _write(piece: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    promise((answer) => this.#native.write(piece, answer)).then(() => done(), done);
  }

  /** @internal */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    // Ends a read that is under way, too.
    this.#native.close();
    done(error);
  }
}
