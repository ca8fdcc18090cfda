// By fetch: node examples/fetch.mjs http://127.0.0.1:8080 "deep learning books"
const [gateway = "http://127.0.0.1:8080", query = "deep learning books"] = process.argv.slice(2);

const reply = await fetch(`${gateway}/search`, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ query, k: 5 }),
});
const answer = await reply.json();
if (!reply.ok) throw new Error(answer.error.message); // one sentence
for (const hit of answer.hits) console.log(`${hit.score.toFixed(3)}  ${hit.product_id}  ${hit.title}`);
