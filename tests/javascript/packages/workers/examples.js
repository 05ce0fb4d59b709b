// A worker that runs examples: each is [what it is called, a function, what it has to give]. It answers with all three, and
// the test compares. A function that throws gives `{ threw: "Name: message" }`.

export function examples(list) {
  return {
    async fetch(_request, env) {
      const told = [];
      for (const [name, run, wanted] of list) {
        told.push({ name, got: await outcome(run, env), wanted });
      }
      return Response.json(told);
    },
  };
}

async function outcome(run, env) {
  try {
    const got = await run(env);
    return got === undefined ? null : got;
  } catch (error) {
    return { threw: `${error?.name}: ${error?.message}`, stack: error?.stack };
  }
}

// The error that `run` throws, as `Name: message`.
export async function thrownBy(run) {
  try {
    await run();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
  return "nothing";
}
