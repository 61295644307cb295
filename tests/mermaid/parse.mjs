// Reads a JSON array of diagrams from stdin, and writes what Mermaid's own parser makes of each: its entities with what
// is shown of them and of their attributes, and what stands at the relationships between them; or a string, the error.
import mermaid from "mermaid";

let input = "";
for await (const chunk of process.stdin) input += chunk;

// Mermaid puts marks in place of entity codes before it parses, and codes in place of the marks after it has drawn.
const shown = (text) =>
  text.replace(/ﬂ°°(\d+)¶ß|#(\d+);/g, (_, mark, code) => String.fromCodePoint(Number(mark ?? code)));

mermaid.initialize({ maxTextSize: 10_000_000 });
const answers = [];
for (const text of JSON.parse(input)) {
  try {
    const { db } = await mermaid.mermaidAPI.getDiagramFromText(text);
    const entities = db.getEntities();
    answers.push({
      entities: [...(entities instanceof Map ? entities.values() : Object.values(entities))].map((entity) => ({
        label: shown(entity.alias),
        columns: entity.attributes.map((attribute) =>
          shown(attribute.comment || attribute.attributeComment || attribute.name || attribute.attributeName),
        ),
      })),
      relationships: db.getRelationships().map((relationship) => shown(relationship.roleA)),
    });
  } catch (error) {
    answers.push(String(error));
  }
}
process.stdout.write(JSON.stringify(answers));
