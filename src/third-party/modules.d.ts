/** The bundles that have no types of their own; what is used of them is described where it is used. */

declare module '#dicom' {
  // biome-ignore lint/suspicious/noExplicitAny: dcmjs is written in JavaScript.
  export const dcmjs: any;
  // biome-ignore lint/suspicious/noExplicitAny: As above.
  export const codecs: any;
}

declare module '#hdf5' {
  const make: unknown;
  export default make;
}
