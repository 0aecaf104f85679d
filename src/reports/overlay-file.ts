import { deflateSync } from 'node:zlib';
import { type OverlayInput, renderOverlay } from './overlay.js';
import { encodePng } from './png.js';

/** A PNG of the overlay of a case. */
export function overlayPng(input: OverlayInput): Uint8Array {
  const { width, height, rgb } = renderOverlay(input);
  return encodePng(width, height, rgb, (bytes) => deflateSync(bytes, { level: 9 }));
}

/** File name of the overlay of a case and task. */
export function overlayFileName(id: string, task: string): string {
  return `${id}_${task}.png`.replaceAll(/[^\w.-]+/g, '-');
}
