import { type ErrorCode, type ErrorDetails, isVersemiError, VersemiError } from './errors.js';

/** A coded error as it can cross threads: the class would be lost on the way. */
export interface PlainError {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;
}

/** @param where named in the sentence when the error is not a coded one */
export function toPlain(error: unknown, where: string): PlainError {
  if (isVersemiError(error)) return { code: error.code.replace('VERSEMI_', '') as ErrorCode, details: error.details };
  const found = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'INTERNAL', details: { field: where, found } };
}

export function fromPlain({ code, details }: PlainError): VersemiError {
  return new VersemiError(code, details);
}
