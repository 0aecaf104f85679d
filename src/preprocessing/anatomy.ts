import type { Code } from '../config/facts-schema.js';

/** What DICOM objects say of a task: fields of a task of a plan. */
export interface TaskIdentity {
  readonly code: Code;
  readonly category: Code;
  readonly color: string;
}

type Row = readonly [names: string, value: string, meaning: string, color: string];

/**
 * Organs and parts that labels of public datasets name, with their codes in SNOMED CT and the meanings that DICOM's context groups give
 * (PS3.16, CID 7151 and those that it includes; myocardium by its SNOMED CT name). A side is not coded: it stays in the name of the task.
 */
const structures: readonly Row[] = [
  ['liver', '10200004', 'Liver', '#c96f53'],
  ['spleen', '78961009', 'Spleen', '#9d6ca2'],
  ['pancreas', '15776009', 'Pancreas', '#f9b46f'],
  ['kidney|kidneys|left kidney|right kidney|kidney left|kidney right', '64033007', 'Kidney', '#b96624'],
  ['gallbladder|gall bladder', '28231008', 'Gallbladder', '#8bba45'],
  ['stomach', '69695003', 'Stomach', '#d8a184'],
  ['duodenum', '38848004', 'Duodenum', '#ffd966'],
  ['colon', '71854001', 'Colon', '#cc9b5c'],
  ['rectum', '34402009', 'Rectum', '#a8745a'],
  ['esophagus|oesophagus', '32849002', 'Esophagus', '#d3ab8f'],
  [
    'adrenal gland|adrenal glands|left adrenal gland|right adrenal gland|adrenal gland left|adrenal gland right',
    '23451007',
    'Adrenal gland',
    '#f4d631',
  ],
  ['bladder|urinary bladder', '89837001', 'Bladder', '#dec95f'],
  ['prostate', '41216001', 'Prostate', '#e69ac0'],
  ['uterus', '35039007', 'Uterus', '#e47a9a'],
  ['aorta', '15825003', 'Aorta', '#e0352b'],
  ['inferior vena cava|postcava|vena cava inferior', '64131007', 'Inferior vena cava', '#2f79c4'],
  ['portal vein', '32764006', 'Portal vein', '#3aa0dc'],
  ['pulmonary artery', '81040000', 'Pulmonary artery', '#4a63c8'],
  ['heart', '80891009', 'Heart', '#ce6e54'],
  ['left atrium', '82471001', 'Left atrium', '#f26c6c'],
  ['right atrium', '73829009', 'Right atrium', '#6c8cf2'],
  ['left ventricle', '87878005', 'Left ventricle', '#d94141'],
  ['right ventricle', '53085002', 'Right ventricle', '#3f67d6'],
  ['myocardium', '74281007', 'Myocardium structure', '#c79a3a'],
  ['left ventricular myocardium|left ventricle myocardium', '49848007', 'Left Ventricle Myocardium', '#c79a3a'],
  ['lung|lungs|left lung|right lung|lung left|lung right', '39607008', 'Lung', '#7fb8e6'],
  ['trachea', '44567001', 'Trachea', '#b6e4ff'],
  ['brain', '12738006', 'Brain', '#fab8a0'],
  ['hippocampus|left hippocampus|right hippocampus', '5366008', 'Hippocampus', '#54b5a0'],
  ['cerebellum', '113305005', 'Cerebellum', '#c2a8e0'],
  ['spinal cord', '2748008', 'Spinal cord', '#f4d6a0'],
  ['mandible', '91609006', 'Mandible', '#dcd0b4'],
];

const tumour = 'tumou?r|tumou?rs|cancer|neoplasm';
const organs = 'liver|pancreas|pancreatic|kidney|renal|lung|colon|brain|prostate|hepatic';

/** What is not normal anatomy (PS3.16, CID 7159). The organ that it lies in stays in the name of the task. */
const abnormal: readonly (readonly [pattern: RegExp, value: string, meaning: string, color: string])[] = [
  [new RegExp(`^((${organs}) )?(${tumour})$`), '108369006', 'Neoplasm', '#90ee40'],
  [new RegExp(`^((${organs}) )?cysts?$`), '367643001', 'Cyst', '#cdcd64'],
  [/^(peritumou?ral )?o?edema$/, '79654002', 'Edema', '#8ce0e4'],
];

const anatomical = { scheme: 'SCT', value: '123037004', meaning: 'Anatomical Structure' };
const abnormality = { scheme: 'SCT', value: '49755003', meaning: 'Morphologically Abnormal Structure' };

/** All rows, for a test that compares them with an independent dictionary. */
export function codedAnatomy(): readonly TaskIdentity[] {
  return [
    ...structures.map(([, ...row]) => identity(row, anatomical)),
    ...abnormal.map(([, ...row]) => identity(row, abnormality)),
  ];
}

function identity(
  [value, meaning, color]: readonly [string, string, string],
  category: TaskIdentity['category'],
): TaskIdentity {
  return { code: { scheme: 'SCT', value, meaning }, category, color };
}

/**
 * Codes and colour of what a label is called, where its name says beyond doubt what it is.
 * @param label a name in a dataset, e.g. "Left_Ventricle"
 */
export function anatomyOf(label: string): TaskIdentity | undefined {
  const words = label
    .toLowerCase()
    .replace(/[\s_-]+/g, ' ')
    .trim();
  const structure = structures.find(([names]) => names.split('|').includes(words));
  if (structure !== undefined) return identity([structure[1], structure[2], structure[3]], anatomical);
  const row = abnormal.find(([pattern]) => pattern.test(words));
  return row === undefined ? undefined : identity([row[1], row[2], row[3]], abnormality);
}
