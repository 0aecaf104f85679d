// Loss terms of one's own. `tversky` weighs what is missed above what is found in excess (Salehi et al., MLMI 2017); `entropy` asks
// for certain predictions on unlabelled scans (Grandvalet and Bengio, NeurIPS 2004). In a plan:
//
//     "losses": { "own": { "tversky": 0.5, "tverskyOfMixes": 0.1, "entropy": 0.01 } }
//
// Where several processes train together, each has some of the images: sumOverParts adds up what all of them have, and acrossRanks says
// that every sum over images does.
//
//     versemi train plan.json --parts loss-terms.mjs --out runs/first
import { sumOverParts, tf } from 'versemi/tfjs';

const tversky = {
  name: 'tversky',
  group: 'labeled',
  acrossRanks: true,
  // logits and target are [n, p, depth, height, width]: p prompts of each of n images
  value({ logits, target, known }) {
    const found = tf.sigmoid(logits);
    const counted = (mask) => sumOverParts(tf.sum(known === undefined ? mask : tf.mul(mask, known)));
    const both = counted(tf.mul(found, target));
    const excess = counted(tf.mul(found, tf.sub(1, target)));
    const missed = counted(tf.mul(tf.sub(1, found), target));
    const all = tf.addN([both, tf.mul(excess, 0.3), tf.mul(missed, 0.7)]);
    return tf.sub(1, tf.div(tf.add(both, 1), tf.add(all, 1)));
  },
};

// The same on mixes of two labelled images, prompted with "any foreground".
const tverskyOfMixes = { ...tversky, name: 'tverskyOfMixes', group: 'mixed' };

const entropy = {
  name: 'entropy',
  group: 'unlabeled',
  acrossRanks: true,
  value({ logits }) {
    // The entropy of a probability p = sigmoid(x) is softplus(x) - x p.
    const entropies = tf.sub(tf.softplus(logits), tf.mul(logits, tf.sigmoid(logits)));
    return tf.div(sumOverParts(tf.sum(entropies)), sumOverParts(tf.scalar(logits.size)));
  },
};

/** @type {import('versemi').Parts} */
export const parts = { lossTerms: [tversky, tverskyOfMixes, entropy] };
