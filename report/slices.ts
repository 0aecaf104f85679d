/** The slices of a case, from the element of the page that holds them. */
import type { CaseSlices } from '../src/reports/slices.js';

export interface Slices {
  /** x y z, axes to the right, the front and the top of the patient. */
  readonly sizeVoxels: readonly [number, number, number];
  readonly spacingMm: readonly [number, number, number];
  /** Grey values [z, y, x]. */
  readonly gray: Uint8Array;
  readonly tasks: readonly { readonly name: string; readonly reference: Uint8Array; readonly prediction: Uint8Array }[];
}

/** @throws Error in words for the person who looks at the page */
export async function readSlices(elementId: string): Promise<Slices> {
  const { sizeVoxels, spacingMm, columns, tilePixels, image, tasks } = JSON.parse(
    document.getElementById(elementId)!.textContent!,
  ) as CaseSlices;
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  const voxels = sizeX * sizeY * sizeZ;
  const { pixels, width } = await pixelsOf(`data:image/jpeg;base64,${image}`);
  const gray = new Uint8Array(voxels);
  for (let z = 0, to = 0; z < sizeZ; z++) {
    const corner = Math.floor(z / columns) * tilePixels[1] * width + (z % columns) * tilePixels[0];
    for (let y = 0; y < sizeY; y++) for (let x = 0; x < sizeX; x++) gray[to++] = pixels[4 * (corner + y * width + x)]!;
  }
  return {
    sizeVoxels,
    spacingMm,
    gray,
    tasks: await Promise.all(
      tasks.map(async ({ task, masks }) => {
        const bits = await inflated(masks);
        const mask = (first: number) => Uint8Array.from({ length: voxels }, (_, i) => bitAt(bits, first + i));
        return { name: task, reference: mask(0), prediction: mask(voxels) };
      }),
    ),
  };
}

function bitAt(bits: Uint8Array, index: number): number {
  return (bits[index >> 3]! >> (index & 7)) & 1;
}

async function pixelsOf(address: string): Promise<{ pixels: Uint8ClampedArray; width: number }> {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [picture.width, picture.height + 1];
  const context = canvas.getContext('2d', { willReadFrequently: true })!;
  context.drawImage(picture, 0, 0);
  // A browser that guards against fingerprints gives other pixels than were drawn: the last row tells.
  context.fillStyle = 'rgb(40, 120, 200)';
  context.fillRect(0, picture.height, 1, 1);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const probe = pixels.subarray(4 * canvas.width * picture.height);
  if ([40, 120, 200].some((value, i) => Math.abs(probe[i]! - value) > 4))
    throw new Error(
      'This browser hides the pixels of pictures from pages, as a guard against fingerprinting: allow canvas data for this page, or open it in another browser.',
    );
  return { pixels, width: picture.width };
}

/** @param text base64 of a zlib stream */
async function inflated(text: string): Promise<Uint8Array> {
  if (typeof DecompressionStream === 'undefined')
    throw new Error('This browser is too old to show slices: it needs Chrome 80, Firefox 113, Safari 16.4 or newer.');
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
