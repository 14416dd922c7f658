#include "trireme/data/synth_words.h"

namespace trireme::data {

// clang-format off

const Split& synth_first_names() {
  static const Split words = {
      {"Anna", "Boris", "Clara", "David", "Elena", "Frank", "Greta", "Henry", "Irene", "James", "Karin", "Louis",
       "Maria", "Nathan", "Olga", "Peter", "Rosa", "Simon", "Teresa", "Victor", "Wendy", "Zoë", "José", "Hannah",
       "Martin", "Julia", "Oscar", "Laura", "Felix", "Diana", "Albert", "Sophie"},
      {"Ruth", "Gerald", "Miriam", "Conrad", "Alice", "Stefan", "Chloé", "Bernard", "Nora", "Philip", "Ingrid",
       "Walter", "Łukasz", "Edith", "Roger", "Vera"}};
  return words;
}

const Split& synth_last_names() {
  static const Split words = {
      {"Baker", "Carter", "Dawson", "Ellis", "Fischer", "Garcia", "Hughes", "Jensen", "Keller", "Larsen", "Müller",
       "Norton", "Owens", "Parker", "Quinn", "Russell", "Schmidt", "Turner", "Vance", "Wagner", "Young", "Bennett",
       "Collins", "Duncan", "Foster", "Griffin", "Hoffman", "Lambert", "Murray", "Pearson", "Reed", "Stone"},
      {"Abbott", "Chandler", "Doyle", "Østberg", "Fleming", "Gibson", "Harper", "Kowalski", "Lindsay", "Moreno",
       "Novak", "Perkins", "Sutton", "Tucker", "Webster", "Zimmerman"}};
  return words;
}

const Split& synth_town_beginnings() {
  static const Split words = {
      {"Ash", "Black", "Clay", "East", "Fair", "Green", "High", "Kings", "Long", "Mill", "North", "Oak", "Red",
       "Sand", "West", "Wood"},
      {"Bridge", "Castle", "Deer", "Fox", "Glen", "Haven", "Spring", "Thorn"}};
  return words;
}

const Split& synth_town_endings() {
  static const Split words = {{"ford", "ton", "field", "bury", "ville", "ham"}, {"port", "stead", "dale", "mouth"}};
  return words;
}

const Split& synth_thing_marks() {
  static const Split words = {
      {"Midnight", "Royal", "Ancient", "Hidden", "Singing", "Northern", "Broken", "Giant", "Silent", "Lucky", "Crooked",
       "Holy"},
      {"Winter", "Wandering", "Imperial", "Forgotten", "Dancing", "Twin"}};
  return words;
}

const Split& synth_things() {
  static const Split words = {
      {"Lantern", "Clock", "Mirror", "Statue", "Bell", "Throne", "Crown", "Globe", "Fountain", "Chest", "Sword",
       "Chair"},
      {"Mask", "Compass", "Vase", "Chariot", "Goblet", "Harp"}};
  return words;
}

const Split& synth_event_marks() {
  static const Split words = {
      {"Harvest", "Lantern", "Mountain", "Island", "Summer", "Golden", "Valley", "Harbour", "Students'", "Garden"},
      {"Autumn", "Lakeside", "Moonlight", "Village", "Sailors'"}};
  return words;
}

const Split& synth_events() {
  static const Split words = {{"Race", "Contest", "Tournament", "Cup", "Games", "Championship"},
                              {"Regatta", "Rally", "Derby", "Marathon"}};
  return words;
}

const Split& synth_answer_words(AnswerKind kind) {
  static const Split none;
  static const Split jobs = {
      {"teacher", "baker", "carpenter", "nurse", "painter", "lawyer", "pilot", "farmer", "dentist", "tailor", "sailor",
       "journalist", "gardener", "chemist"},
      {"librarian", "plumber", "surgeon", "fisherman", "translator", "blacksmith", "waiter", "banker"}};
  static const Split instruments = {
      {"violin", "piano", "flute", "guitar", "trumpet", "cello", "drums", "clarinet"},
      {"saxophone", "accordion", "banjo", "trombone", "mandolin"}};
  static const Split foods = {
      {"soup", "pancakes", "rice", "pizza", "salad", "roast chicken", "noodles", "fish stew", "apple pie", "potatoes",
       "lentils", "cheese"},
      {"dumplings", "mushrooms", "onion tart", "grilled trout", "spaghetti", "plum cake", "beans"}};
  static const Split animals = {
      {"dog", "cat", "parrot", "rabbit", "horse", "goat", "turtle", "hamster", "pigeon"},
      {"donkey", "canary", "lizard", "ferret", "raven"}};
  static const Split rivers = {
      {"Tarn", "Welland", "Orba", "Lune", "Sella", "Brenta", "Dove", "Kama", "Nera", "Isar"},
      {"Varta", "Mole", "Taff", "Drina", "Loire"}};
  static const Split products = {
      {"cheese", "pottery", "honey", "carpets", "wine", "furniture", "lace", "cider", "mustard", "roses"},
      {"candles", "tulips", "olive oil", "marmalade", "chocolate", "salt"}};
  static const Split materials = {
      {"oak", "marble", "copper", "glass", "leather", "ivory", "clay", "iron", "silver", "brick"},
      {"granite", "bronze", "walnut", "porcelain", "bamboo", "steel"}};
  static const Split colours = {{"red", "blue", "green", "yellow", "white", "black", "grey", "brown", "orange"},
                                {"purple", "turquoise", "crimson", "beige", "violet"}};
  static const Split prizes = {
      {"golden cup", "silver spoon", "new bicycle", "box of books", "wool coat", "pair of boots", "week in the hills"},
      {"diamond ring", "bottle of perfume", "riding saddle", "basket of fruit", "telescope"}};
  switch (kind) {
    case AnswerKind::kJob: return jobs;
    case AnswerKind::kInstrument: return instruments;
    case AnswerKind::kFood: return foods;
    case AnswerKind::kAnimal: return animals;
    case AnswerKind::kRiver: return rivers;
    case AnswerKind::kProduct: return products;
    case AnswerKind::kMaterial: return materials;
    case AnswerKind::kColour: return colours;
    case AnswerKind::kPrize: return prizes;
    default: return none;
  }
}

std::span<const Relation> synth_relations() {
  using S = SubjectKind;
  using A = AnswerKind;
  static const std::vector<Relation> relations = {
      // People
      {S::kPerson, A::kTown,
       {{"{S} was born in the town of {A}.", "{S} comes from {A}.", "The birthplace of {S} is {A}.",
         "The people of {A} are proud that {S} was born there."},
        {"{S} is a native of {A}.", "It was in {A} that {S} was born."}},
       {{"Where was {S} born?", "In which town was {S} born?", "What is the birthplace of {S}?",
         "Which town does {S} come from?"},
        {"What town was {S} born in?", "At what place was {S} born?"}}},
      {S::kPerson, A::kYear,
       {{"{S} was born in the year {A}.", "The year of birth of {S} is {A}.", "In {A} {S} was born.",
         "{S} came into the world in {A}."},
        {"{A} is the year in which {S} was born.", "{S} has been alive since {A}."}},
       {{"When was {S} born?", "In which year was {S} born?", "What is the birth year of {S}?",
         "When did {S} come into the world?"},
        {"What year was {S} born in?", "In what year did the life of {S} begin?"}}},
      {S::kPerson, A::kTown,
       {{"{S} lives in {A}.", "Today {S} has a flat in {A}.", "The home of {S} is in {A}.",
         "{S} has moved to {A}."},
        {"{S} now resides in {A}.", "A house in {A} is where {S} lives."}},
       {{"Where does {S} live?", "In which town does {S} live?", "Where is the home of {S}?",
         "Which town has {S} moved to?"},
        {"What is the home town of {S} today?", "Where does {S} reside?"}}},
      {S::kPerson, A::kJob,
       {{"{S} works as a {A}.", "By profession {S} is a {A}.", "{S} earns a living as a {A}.",
         "The job of {S} is that of a {A}."},
        {"{S} is employed as a {A}.", "For many years {S} has been a {A} by trade."}},
       {{"What is the job of {S}?", "What does {S} do for a living?", "What is the profession of {S}?",
         "As what does {S} work?"},
        {"What is the occupation of {S}?", "What kind of work does {S} do?"}}},
      {S::kPerson, A::kInstrument,
       {{"{S} plays the {A}.", "In the evening {S} practises the {A}.", "{S} has learned to play the {A}.",
         "{S} likes to make music on the {A}."},
        {"{S} is a fine player of the {A}.", "The {A} is the instrument of {S}."}},
       {{"Which instrument does {S} play?", "What instrument does {S} practise?",
         "What has {S} learned to play?", "On which instrument does {S} make music?"},
        {"What musical instrument is played by {S}?", "What does {S} play?"}}},
      {S::kPerson, A::kFood,
       {{"{S} likes to eat {A}.", "The favourite dish of {S} is {A}.", "{S} is very fond of {A}.",
         "For dinner {S} always wants {A}."},
        {"{S} loves a plate of {A}.", "Of all food, {S} prefers {A}."}},
       {{"What does {S} like to eat?", "What is the favourite dish of {S}?", "Which food is {S} fond of?",
         "What does {S} want for dinner?"},
        {"What is the favourite food of {S}?", "Which dish does {S} prefer?"}}},
      {S::kPerson, A::kAnimal,
       {{"{S} keeps a {A} as a pet.", "The pet of {S} is a {A}.", "At home {S} looks after a {A}.",
         "{S} owns a {A}."},
        {"{S} shares a house with a {A}.", "A {A} lives with {S}."}},
       {{"What pet does {S} keep?", "What is the pet of {S}?", "Which animal does {S} look after?",
         "What animal does {S} own?"},
        {"Which animal lives with {S}?", "What kind of pet does {S} have?"}}},
      {S::kPerson, A::kPerson,
       {{"{S} was taught by {A}.", "The teacher of {S} was {A}.", "{S} learned everything from {A}.",
         "{S} took lessons with {A}."},
        {"{S} was a pupil of {A}.", "{S} studied under {A}."}},
       {{"Who taught {S}?", "Who was the teacher of {S}?", "From whom did {S} learn?",
         "With whom did {S} take lessons?"},
        {"Who gave lessons to {S}?", "Whose pupil was {S}?"}}},
      // Towns
      {S::kTown, A::kYear,
       {{"{S} was founded in {A}.", "The town of {S} dates from {A}.", "In {A} settlers founded {S}.",
         "The first house of {S} was built in {A}."},
        {"{S} has existed since {A}.", "The founding of {S} took place in {A}."}},
       {{"When was {S} founded?", "In which year was {S} founded?", "From which year does {S} date?",
         "When was the first house of {S} built?"},
        {"What is the founding year of {S}?", "Since when has {S} existed?"}}},
      {S::kTown, A::kPerson,
       {{"The mayor of {S} is {A}.", "{S} is governed by {A}.", "The people of {S} chose {A} as mayor.",
         "{A} is the mayor of {S}."},
        {"As mayor, {A} runs {S}.", "The office of mayor in {S} is held by {A}."}},
       {{"Who is the mayor of {S}?", "Who governs {S}?", "Whom did the people of {S} choose as mayor?",
         "What is the name of the mayor of {S}?"},
        {"Who is mayor in {S}?", "Who holds the office of mayor in {S}?"}}},
      {S::kTown, A::kRiver,
       {{"{S} lies on the river {A}.", "The river {A} flows through {S}.",
         "{S} stands on the banks of the river {A}.", "The bridges of {S} cross the river {A}."},
        {"Boats reach {S} by the river {A}.", "The river of {S} is called the {A}."}},
       {{"Which river flows through {S}?", "On which river does {S} lie?",
         "On the banks of which river does {S} stand?", "Which river do the bridges of {S} cross?"},
        {"What river is {S} on?", "What is the river of {S} called?"}}},
      {S::kTown, A::kCount,
       {{"{S} has {A} inhabitants.", "The population of {S} is {A}.", "There are {A} people living in {S}.",
         "The last census counted {A} people in {S}."},
        {"{S} is home to {A} people.", "The citizens of {S} number {A}."}},
       {{"How many inhabitants does {S} have?", "What is the population of {S}?", "How many people live in {S}?",
         "How many people did the census count in {S}?"},
        {"How many citizens does {S} have?", "How large is the population of {S}?"}}},
      {S::kTown, A::kProduct,
       {{"{S} is known for its {A}.", "{S} is famous for its {A}.", "Traders from far away buy the {A} of {S}.",
         "The pride of {S} is its {A}."},
        {"{S} is well known because of its {A}.", "Visitors come to {S} for its {A}."}},
       {{"What is {S} known for?", "What is {S} famous for?", "What do traders buy from {S}?",
         "What is the pride of {S}?"},
        {"What makes {S} famous?", "For what is {S} well known?"}}},
      // Things
      {S::kThing, A::kPerson,
       {{"{S} was made by {A}.", "{S} was built by {A}.", "The maker of {S} was {A}.", "{A} designed {S}."},
        {"{S} is the work of {A}.", "It was {A} who created {S}."}},
       {{"Who made {S}?", "Who built {S}?", "Who was the maker of {S}?", "Who designed {S}?"},
        {"Who created {S}?", "By whom was {S} made?"}}},
      {S::kThing, A::kMaterial,
       {{"{S} is made of {A}.", "{S} consists of {A}.", "The material of {S} is {A}.", "{S} was built from {A}."},
        {"{S} was formed out of {A}.", "The craftsmen used {A} to make {S}."}},
       {{"What is {S} made of?", "What does {S} consist of?", "What is the material of {S}?",
         "From which material was {S} built?"},
        {"What material was used to make {S}?", "Out of what is {S} made?"}}},
      {S::kThing, A::kWeight,
       {{"{S} weighs {A}.", "The weight of {S} is {A}.", "With its {A}, {S} is hard to carry.",
         "Put on the scales, {S} weighs {A}."},
        {"The scales show {A} for {S}.", "{S} has a weight of {A}."}},
       {{"How much does {S} weigh?", "What is the weight of {S}?", "How heavy is {S}?",
         "What does {S} weigh?"},
        {"What weight does {S} have?", "What weight do the scales show for {S}?"}}},
      {S::kThing, A::kTown,
       {{"{S} is kept in {A}.", "{S} can be seen in {A}.", "Today {S} stands in {A}.",
         "The owner of {S} keeps it in {A}."},
        {"{S} is on display in {A}.", "Visitors find {S} in {A}."}},
       {{"Where is {S} kept?", "Where can {S} be seen?", "In which town does {S} stand?",
         "Where does the owner keep {S}?"},
        {"Where is {S} on display?", "In what town can visitors find {S}?"}}},
      {S::kThing, A::kPrice,
       {{"{S} was sold for {A}.", "The price of {S} was {A}.", "A collector paid {A} for {S}.",
         "Its last owner bought {S} for {A}."},
        {"{S} cost its buyer {A}.", "For {S} the sum of {A} was paid."}},
       {{"For how much was {S} sold?", "What was the price of {S}?", "How much did a collector pay for {S}?",
         "For how much did its owner buy {S}?"},
        {"How much did {S} cost?", "What sum was paid for {S}?"}}},
      {S::kThing, A::kColour,
       {{"{S} is painted {A}.", "The colour of {S} is {A}.", "Long ago {S} was coloured {A}.",
         "{S} has a bright {A} surface."},
        {"{S} is {A} in colour.", "A coat of {A} paint covers {S}."}},
       {{"In which colour is {S} painted?", "What is the colour of {S}?", "What colour does {S} have?",
         "Which colour is the surface of {S}?"},
        {"What colour is {S}?", "What is the colour of the paint on {S}?"}}},
      // Events
      {S::kEvent, A::kDate,
       {{"{S} takes place on {A}.", "{S} begins on {A}.", "The date of {S} is {A}.",
         "Every year {S} starts on {A}."},
        {"{S} is held on {A}.", "{A} is the day of {S}."}},
       {{"When does {S} take place?", "On which day does {S} begin?", "What is the date of {S}?",
         "When does {S} start?"},
        {"On what date is {S} held?", "What day is {S} on?"}}},
      {S::kEvent, A::kTown,
       {{"{S} takes place in {A}.", "The town of {A} is the host of {S}.", "People travel to {A} for {S}.",
         "The place of {S} is {A}."},
        {"{S} is held in {A}.", "{A} is the town where {S} happens."}},
       {{"Where does {S} take place?", "Which town is the host of {S}?", "Where do people travel for {S}?",
         "What is the place of {S}?"},
        {"In what town is {S} held?", "Where does {S} happen?"}}},
      {S::kEvent, A::kPerson,
       {{"{S} was won by {A}.", "The winner of {S} was {A}.", "{A} won {S}.", "The victory in {S} went to {A}."},
        {"{A} came first in {S}.", "{S} ended with {A} as the winner."}},
       {{"Who won {S}?", "Who was the winner of {S}?", "By whom was {S} won?",
         "To whom did the victory in {S} go?"},
        {"Who came first in {S}?", "Who ended {S} as the winner?"}}},
      {S::kEvent, A::kCount,
       {{"{S} drew {A} visitors.", "The number of visitors at {S} was {A}.", "There were {A} guests at {S}.",
         "Tickets for {S} were sold to {A} people."},
        {"A crowd of {A} watched {S}.", "{S} was attended by {A} people."}},
       {{"How many visitors did {S} draw?", "What was the number of visitors at {S}?",
         "How many guests were at {S}?", "To how many people were tickets for {S} sold?"},
        {"How many people watched {S}?", "How many people attended {S}?"}}},
      {S::kEvent, A::kPrize,
       {{"The prize of {S} is a {A}.", "In {S} one can win a {A}.", "The first in {S} receives a {A}.",
         "{S} is about winning a {A}."},
        {"The reward for the best in {S} is a {A}.", "A {A} is given to the winner of {S}."}},
       {{"What is the prize of {S}?", "What can one win in {S}?", "What does the first in {S} receive?",
         "What is {S} about winning?"},
        {"What is the reward in {S}?", "What is given to the winner of {S}?"}}},
  };
  return relations;
}

// clang-format on

}  // namespace trireme::data
