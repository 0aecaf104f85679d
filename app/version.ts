declare const VERSEMI_VERSION: string;

/** Version of the package; the script that bundles the page puts it in. */
export const version: string = VERSEMI_VERSION;
