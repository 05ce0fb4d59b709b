// Two requests at once, one answer.
export default {
  async fetch(request, env) {
    const answers = await Promise.all([fetch(`${env.ORIGIN}/todos/1`), fetch(`${env.ORIGIN}/users/1`)]);
    const [todo, user] = await Promise.all(answers.map((answer) => answer.json()));
    return Response.json({ todo: todo.path, user: user.path });
  },
};
