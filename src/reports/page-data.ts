/** What a page gives to its script (report/), as JSON. */

/** A metric of cases, as tables and plots name it. */
export interface PageMetric {
  readonly heading: string;
  readonly digits: number;
  /** Values are shares: axes go from 0 to 1. */
  readonly share: boolean;
}

/** Values of one case and task. */
export interface PageCase {
  readonly dataset: string;
  readonly id: string;
  readonly task: string;
  /** In the order of the page's metrics; null where one is undefined. */
  readonly values: readonly (number | null)[];
  /** Of prediction and reference; null where they are not known. */
  readonly volumesMl: readonly [prediction: number, reference: number] | null;
}

/** One evaluation. */
export interface PageRun {
  readonly name: string;
  readonly cases: readonly PageCase[];
}

/** Curves over one axis. */
export interface PageCurves {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  /** Values are shares: the axis goes from 0 to 1. */
  readonly share: boolean;
  /** Points are few, so that each is drawn. */
  readonly marks: boolean;
  readonly x: readonly number[];
  /** `y` has a value, or null, for each of `x`. */
  readonly series: readonly { readonly name: string; readonly y: readonly (number | null)[] }[];
}

/** Differences of the same cases in two runs, one task, with their mean and its interval. */
export interface PagePairs {
  readonly task: string;
  readonly mean: number;
  readonly low: number;
  readonly high: number;
  readonly cases: readonly { readonly dataset: string; readonly id: string; readonly difference: number }[];
}

/** How far volumes of the prediction lie from those of the reference (Bland and Altman, 1986). */
export interface PageAgreement {
  readonly run: number;
  readonly task: string;
  readonly cases: number;
  readonly meanReferenceMl: number;
  /** Mean of prediction less reference. */
  readonly biasMl: number;
  /** Bias ± 1.96 standard deviations. */
  readonly lowMl: number;
  readonly highMl: number;
}

export interface PageData {
  readonly metrics: readonly PageMetric[];
  readonly runs: readonly PageRun[];
  readonly curves: readonly PageCurves[];
  readonly pairs: readonly {
    /** Run less reference, both by their names. */
    readonly run: string;
    readonly reference: string;
    readonly tasks: readonly PagePairs[];
  }[];
  readonly agreement: readonly PageAgreement[];
  /** Cases whose slices are in the page; `element` is the id of the element that holds them as JSON. */
  readonly slices: readonly {
    readonly run: number;
    readonly dataset: string;
    readonly id: string;
    readonly element: string;
  }[];
}
