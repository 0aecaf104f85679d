/** Colours of what is drawn on a canvas; all else takes its colours from main.css. */
import { contourColors as pictureColors } from '../src/reports/overlay.js';
import { palette } from '../src/reports/palette.js';

export function colorOf(index: number): string {
  return palette[index % palette.length]!;
}

/** Of outlines and errors, as the pictures have them. */
export const contourStyles = {
  reference: `rgb(${pictureColors.reference.join()})`,
  prediction: `rgb(${pictureColors.prediction.join()})`,
} as const;

interface Colors {
  readonly text: string;
  readonly line: string;
}

const light: Colors = { text: '#5b6675', line: '#dde2e8' };
const dark: Colors = { text: '#9aa6b5', line: '#2f3844' };

const preference = matchMedia('(prefers-color-scheme: dark)');
let printing = false;

/** Paper is light, whatever the screen is. */
export function colors(): Colors {
  return preference.matches && !printing ? dark : light;
}

/** Calls when colours are others than before: the preference has changed, or the page is being printed. */
export function onColors(redraw: () => void): void {
  preference.addEventListener('change', redraw);
  for (const [event, value] of [
    ['beforeprint', true],
    ['afterprint', false],
  ] as const)
    addEventListener(event, () => {
      printing = value;
      redraw();
    });
}
