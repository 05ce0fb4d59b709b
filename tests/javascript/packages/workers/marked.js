import { Marked, lexer, marked } from "marked";
import { examples } from "./examples.js";

const linked = new Marked({
  renderer: {
    heading({ tokens, depth }) {
      const text = this.parser.parseInline(tokens);
      return `<h${depth} id="${text.toLowerCase().replace(/[^\w]+/g, "-")}">${text}</h${depth}>\n`;
    },
  },
});

// `:emoji:`, as the documentation's example of an extension.
const extended = new Marked({
  extensions: [
    {
      name: "note",
      level: "inline",
      start: (source) => source.indexOf("!!"),
      tokenizer(source) {
        const match = /^!!(.+?)!!/.exec(source);
        return match ? { type: "note", raw: match[0], text: match[1] } : undefined;
      },
      renderer: (token) => `<mark>${token.text}</mark>`,
    },
  ],
});

const loading = new Marked({
  async: true,
  async walkTokens(token) {
    if (token.type === "link") {
      await scheduler.wait(1);
      token.text = token.tokens[0].text = token.text.toUpperCase();
    }
  },
});

export default examples([
  ["inline marks", () => marked.parseInline("**bold**, _so_, `code` and ~~gone~~"), "<strong>bold</strong>, <em>so</em>, <code>code</code> and <del>gone</del>"],
  ["a document", () => marked.parse("# Marked in Node.js\n\nRendered by **marked**."), "<h1>Marked in Node.js</h1>\n<p>Rendered by <strong>marked</strong>.</p>\n"],
  ["lists of tasks", () => marked.parse("- [x] done\n- [ ] open"), '<ul>\n<li><input checked="" disabled="" type="checkbox"> done</li>\n<li><input disabled="" type="checkbox"> open</li>\n</ul>\n'],
  ["tables", () => marked.parse("| a | b |\n|---|:-:|\n| 1 | 2 |"), '<table>\n<thead>\n<tr>\n<th>a</th>\n<th align="center">b</th>\n</tr>\n</thead>\n<tbody><tr>\n<td>1</td>\n<td align="center">2</td>\n</tr>\n</tbody></table>\n'],
  ["fenced code is escaped", () => marked.parse("```js\na < b && c;\n```"), '<pre><code class="language-js">a &lt; b &amp;&amp; c;\n</code></pre>\n'],
  ["links by reference, and bare ones", () => marked.parse('[a][1] https://example.com\n\n[1]: /x "t"'), '<p><a href="/x" title="t">a</a> <a href="https://example.com">https://example.com</a></p>\n'],
  ["nested quotes", () => marked.parse("> a\n> > b"), "<blockquote>\n<p>a</p>\n<blockquote>\n<p>b</p>\n</blockquote>\n</blockquote>\n"],
  ["line breaks, when asked for", () => marked.parse("a\nb", { breaks: true }), "<p>a<br>b</p>\n"],
  ["tokens", () => lexer("# heading\n- a\n- b").map((token) => [token.type, token.items?.length ?? token.depth]), [["heading", 1], ["list", 2]]],
  ["a renderer of one's own", () => linked.parse("## Two words"), '<h2 id="two-words">Two words</h2>\n'],
  ["an extension", () => extended.parseInline("see !!this!! _too_"), "see <mark>this</mark> <em>too</em>"],
  ["tokens that are walked asynchronously", () => loading.parse("[here](/x)"), '<p><a href="/x">HERE</a></p>\n'],
]);
