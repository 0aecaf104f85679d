import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import type { MiddlewareHandler } from 'hono';
import { VersemiError } from '../errors.js';
import { type Ctx, errorAnswer } from './answers.js';

/** Who may ask this server: see README.md of this folder. */

export interface GuardOptions {
  /** Address that the server listens on, as it was given. */
  readonly host: string;
  /** Origins of other pages that may ask, such as `http://localhost:3000`, and of which paths. */
  readonly allowOrigins: readonly string[];
  readonly mayAllow: (path: string) => boolean;
}

/** Headers of every answer: nothing is kept, framed or sent on, and the page is isolated, so that it may have threads. */
const commonHeaders = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
} as const;

/**
 * What the page may do: run its own scripts and workers (blob: threads of WebAssembly), compile WebAssembly, show pictures that it
 * made, and ask this server. Nothing from elsewhere, and no script as text. Styles may stand in elements: the viewer sets some.
 */
export const pagePolicy = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self' blob:",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "font-src 'self' data:",
  "connect-src 'self' data: blob:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

export function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(host);
}

/** Name in a Host header, without port and in lower case; undefined where it is none. */
function hostName(header: string | undefined): string | undefined {
  if (header === undefined || !/^(\[[0-9a-f:.]+\]|[\w.-]+)(:\d{1,5})?$/i.test(header)) return undefined;
  return header.replace(/:\d+$/, '').toLowerCase();
}

/**
 * A page of somebody else can point a name of its own at this machine (DNS rebinding), and then asks with that name. So only names
 * count that nobody else can own: loopback, numbers, and the names that the machine and the command line give it.
 */
function isOwnHost(name: string, bound: string): boolean {
  if (isLoopback(name)) return true;
  if (isLoopback(bound)) return false;
  return isIP(name.replace(/^\[|\]$/g, '')) !== 0 || [bound, hostname()].some((own) => own.toLowerCase() === name);
}

function denied(field: string, expected: string, found: string, remedy: string): VersemiError {
  return new VersemiError('REQUEST_DENIED', { field, expected, found, remedy });
}

/** Throws where a request comes from another page than the server's own. @returns the allowed origin of another page */
function checkOrigin(context: Ctx, { allowOrigins, mayAllow }: GuardOptions): string | undefined {
  const { req } = context;
  const origin = req.header('origin');
  if (origin === undefined) {
    // Pictures and scripts of other pages come without Origin; browsers tell of them here.
    const site = req.header('sec-fetch-site') ?? 'none';
    const foreign = !['none', 'same-origin'].includes(site);
    const visit = req.header('sec-fetch-mode') === 'navigate' && req.path === '/';
    if (foreign && !visit)
      throw denied(
        'Sec-Fetch-Site',
        'a request of the page of this server',
        site,
        'Open the address that was printed.',
      );
    return undefined;
  }
  const own = [`http://${req.header('host')}`, `https://${req.header('host')}`];
  if (own.includes(origin)) return undefined;
  if (mayAllow(req.path) && allowOrigins.includes(origin)) return origin;
  throw denied(
    'Origin',
    own[0]!,
    origin,
    'A viewer on another address may ask for MONAI Label: start versemi serve with --monai-label and --allow-origin, and the address of the viewer.',
  );
}

/** The middleware before all routes: Host and Origin are checked, and every answer gets its headers. */
export function guard(options: GuardOptions): MiddlewareHandler {
  return async (context, next) => {
    let allowed: string | undefined;
    try {
      const header = context.req.header('host');
      const name = hostName(header);
      if (name === undefined || !isOwnHost(name, options.host))
        throw denied(
          'Host',
          isLoopback(options.host) ? 'localhost or 127.0.0.1' : `${options.host}, or the number of the machine`,
          header ?? 'nothing',
          'Open the address that was printed.',
        );
      allowed = checkOrigin(context, options);
      if (allowed !== undefined && context.req.method === 'OPTIONS') context.res = new Response(null, { status: 204 });
      else await next();
    } catch (error) {
      context.res = errorAnswer(error);
    }
    for (const [key, value] of Object.entries(commonHeaders)) context.res.headers.set(key, value);
    const { headers } = context.res;
    headers.set('cross-origin-resource-policy', allowed === undefined ? 'same-origin' : 'cross-origin');
    if (!headers.has('cache-control')) headers.set('cache-control', 'no-store');
    if (!headers.has('content-security-policy'))
      headers.set('content-security-policy', "default-src 'none'; frame-ancestors 'none'");
    if (allowed === undefined) return;
    headers.set('access-control-allow-origin', allowed);
    headers.set('access-control-allow-methods', 'GET, POST, PUT, DELETE');
    headers.set('access-control-allow-headers', 'content-type');
    headers.set('vary', 'origin');
  };
}

/**
 * Whether a request has the token, in a header or in its address; compared in a time that tells nothing of the token. There is no cookie:
 * browsers send the cookies of a machine to all of its ports, and so to the servers of other users.
 */
export function hasToken(context: Ctx, token: string): boolean {
  const given = givenToken(context);
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return given !== undefined && timingSafeEqual(digest(given), digest(token));
}

function givenToken(context: Ctx): string | undefined {
  return context.req.header('x-versemi-token') ?? context.req.query('token');
}

/** Lets only those through who have the token. */
export function requireToken(token: string): MiddlewareHandler {
  return async (context, next) => {
    if (!hasToken(context, token))
      throw denied(
        'x-versemi-token',
        'the token in the address that versemi serve printed',
        givenToken(context) === undefined ? 'none' : 'another one',
        'Open the address that was printed, all of it.',
      );
    await next();
  };
}
