// Guides before reference: what a reader searches for by a word is a page that explains it.
const LATER = [["_made/changelog", 20], ["_made/api/", 4], ["_made/benchmarks", 3], ["glossary", 1]];

var Scorer = {
  score: ([docname, , , , score, , kind]) => {
    const later = LATER.find(([start]) => docname.startsWith(start));
    return kind === "object" || !later ? score : score - later[1];
  },
  objNameMatch: 11,
  objPartialMatch: -1, // a name that contains the word: after pages whose text does
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
