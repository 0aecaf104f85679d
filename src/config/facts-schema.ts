import { z } from '#zod';
import { field, integer, optionalField } from './fields.js';

/** Fields on which no number of training depends: what the scans of a dataset are like, and what tasks are called elsewhere. */

const triple = z.tuple([z.number().gt(0), z.number().gt(0), z.number().gt(0)]);
const triples = z.tuple([triple, triple]);
const pair = z.tuple([z.number(), z.number()]);
const lowAndHigh = '[[x, y, z], [x, y, z]], the smallest and the largest, above 0';

/** What the scans of a dataset are like. */
export const scans = z
  .strictObject({
    cases: integer({
      range: [1, 1e9],
      explanation:
        'Cases that these facts are of: `versemi plan` and `versemi train` write them, `versemi predict` compares a scan with them.',
    }),
    modality: optionalField(z.string().regex(/^[A-Z]{2,16}$/), "a modality in DICOM's word: 'CT', 'MR', 'PT'", {
      explanation: 'Modality of the scans; left out: unknown.',
    }),
    spacingMm: optionalField(triples, lowAndHigh, {
      unit: 'mm',
      explanation: 'Spacing of the scans as they are stored, along left-right, back-front and feet-head.',
    }),
    extentMm: optionalField(triples, lowAndHigh, {
      unit: 'mm',
      explanation: 'Field of view of the scans along the same axes.',
    }),
    percentile005: optionalField(pair, '[low, high]', {
      unit: 'intensity (HU for CT)',
      explanation: 'Smallest and largest 0.5 percentile of the intensities of a scan.',
    }),
    percentile995: optionalField(pair, '[low, high]', {
      unit: 'intensity (HU for CT)',
      explanation: 'Smallest and largest 99.5 percentile of the intensities of a scan.',
    }),
  })
  .optional();

/** Text of at most `length` characters, as DICOM allows it: no backslash, no control characters, no space at the ends. */
function text(length: number, explanation: string) {
  const allowed = new RegExp(`^(?! )[^\\\\\\p{Cc}]{1,${length}}(?<! )$`, 'u');
  return field(z.string().regex(allowed), `1 to ${length} characters, no backslash`, { explanation });
}

/** A code of a terminology. @param of what is coded, and what holds without a code */
function coded(of: string) {
  return z
    .strictObject({
      scheme: field(z.string().regex(/^[A-Za-z0-9_.-]{1,16}$/), 'at most 16 letters, digits, _ . and -', {
        explanation: `Terminology of the code of ${of}: SCT is SNOMED CT.`,
      }),
      value: text(16, 'The code itself.'),
      meaning: text(64, 'What the code means, in words.'),
    })
    .optional();
}

/** What a task is called by other programs. */
export const taskNames = {
  code: coded('what the task segments, for DICOM objects; left out: a general one'),
  category: coded('the category of it; left out: an anatomical structure'),
  color: optionalField(z.string().regex(/^#[0-9A-Fa-f]{6}$/), "'#rrggbb'", {
    explanation: 'Colour of the task in DICOM objects; left out: one of a palette, by the place of the task.',
  }),
};

/** A code of a terminology, as a plan names it. */
export type Code = NonNullable<z.output<ReturnType<typeof coded>>>;
/** Facts of the scans of a dataset. */
export type ScanRanges = NonNullable<z.output<typeof scans>>;
