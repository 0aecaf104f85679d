/**
 * Registers the gradients and the chained methods (`tensor.add(...)`) of TF.js, which tfjs-core alone does not do in Node (they
 * come with #tfjs), and the one gradient that exists nowhere in TF.js: that of conv3dTranspose.
 */
import {
  Conv3D,
  Conv3DBackpropFilterV2,
  type Conv3DBackpropFilterV2Attrs,
  Conv3DBackpropInputV2,
  type Conv3DBackpropInputV2Attrs,
  engine,
  registerGradient,
  type Tensor,
} from '#tfjs';
import type {} from '#tfjs-chained';

registerGradient({
  kernelName: Conv3DBackpropInputV2,
  inputsToSave: ['dy', 'filter'],
  gradFunc: (gradOutput, saved, attributes) => {
    const [dy, filter] = saved as [Tensor, Tensor];
    const { strides, pad } = attributes as unknown as Conv3DBackpropInputV2Attrs;
    const x = gradOutput as Tensor;
    return {
      dy: () => {
        const forward = { strides, pad, dataFormat: 'NDHWC', dilations: [1, 1, 1] };
        return engine().runKernel(Conv3D, { x, filter } as never, forward as never) as Tensor;
      },
      filter: () => {
        const backward: Partial<Conv3DBackpropFilterV2Attrs> = { strides, pad, filterShape: filter.shape as never };
        return engine().runKernel(Conv3DBackpropFilterV2, { x, dy } as never, backward as never) as Tensor;
      },
    };
  },
});
