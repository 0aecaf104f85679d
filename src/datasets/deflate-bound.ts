/** Deflate gives at most this many bytes for one: what claims more is a mistake, or a trap. */
export const largestRatio = 1032;
