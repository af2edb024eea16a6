"""Friendly sentences from small grammars, rich in the sounds that lips show."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LANGUAGES = ("en", "es", "de", "fr", "cmn")


@dataclass(frozen=True)
class Grammar:
    """Patterns with {slots}; each slot is replaced by one of its phrases, which may hold slots again."""

    patterns: tuple[str, ...]
    phrases: Mapping[str, tuple[str, ...]]


def _words(*lines: str) -> tuple[str, ...]:
    """Phrases, separated by bars."""
    return tuple(phrase.strip() for line in lines for phrase in line.split("|"))


def random_sentence(rng: np.random.Generator, language: str) -> str:
    """One of thousands of sentences with its punctuation; Mandarin as numbered pinyin. Raises ValueError."""
    if language not in GRAMMARS:
        raise ValueError(f"expected one of {', '.join(LANGUAGES)}, got {language!r}")
    grammar = GRAMMARS[language]
    sentence = _pick(rng, grammar.patterns)
    while "{" in sentence:
        sentence = re.sub(r"\{(\w+)\}", lambda slot: _pick(rng, grammar.phrases[slot[1]]), sentence)
    return re.sub(r"[^\W\d]", lambda letter: letter[0].upper(), sentence, count=1)


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


ENGLISH = Grammar(
    _words(
        "{who} {did} {what} {where}. | {who} {did} {what} and {what}. | {when}, {who} {did} {what}.",
        "did {who} really see {what} {where}? | why {does} you want {what}? | where {does} they keep {what}?",
        "please bring {what} {where}. | {who} found {number} {things} {where}.",
        "could you show me {number} {things}, please? | {who} says that {what} can be {how}.",
        "oh, how {how} the {things} are! | we should {do} {where} {when}. | {when} we will {do} with {who}.",
        "it takes {number} minutes to {do}. | {who} thinks that {who} {did} {what}.",
        "do you prefer {what} or {what}? | I wonder whether {who} would {do} {when}.",
        "thank you for {what}; it was {how}. | five {things} and {number} {things} make a {how} present.",
    ),
    {
        "who": _words(
            "my mother | papa | our neighbour Bob | the baby | Peter | the young woman | a very old fisherman",
            "Phoebe | her brother | the whole family | George | our bus driver | a beautiful bird | the judge",
            "my best friend | Paul and Emma | the village baker | that funny boy | the music teacher | Victor",
        ),
        "did": _words(
            "bought | painted | brought home | found | forgot | washed | opened | moved | carried | wrapped up",
            "shared | borrowed | polished | drew | imagined | chose | enjoyed | watched | measured | pushed over",
            "threw away | put back | fixed | gave me | followed",
        ),
        "what": _words(
            "a big yellow bowl of apples | the blue umbrella | five warm muffins | a piece of pumpkin pie",
            "an old map | a pair of purple boots | the piano | a cup of hot coffee | fresh bread and butter",
            "a huge bubble | the television | two bottles of water | my favourite book | a small wooden boat",
            "their funny photographs | a bunch of flowers | the moving picture | a slow brown cow | good food",
            "a smooth white pebble | the broken mirror | a thick leather belt | some vegetable soup",
            "every other garage | a treasure box | the noisy machine | an orange balloon",
        ),
        "where": _words(
            "in the park | by the river | behind the big barn | on the moon | at home | above the bookshop",
            "near the purple bridge | under the apple tree | beside the swimming pool | in Paris | upstairs",
            "before the summer fair | on top of a mountain | at the bus stop | through the window",
        ),
        "when": _words(
            "tomorrow morning | last November | before breakfast | after the film | on Wednesday | every evening",
            "at half past {hour} | when the moon comes up | in February | usually | at about {hour} o'clock",
        ),
        "hour": _words("two | three | four | five | seven | eight | nine | ten | eleven | twelve"),
        "number": _words(
            "five | seven | 12 | 14 | 25 | 36 | 48 | 57 | 99 | 100 | 250 | a hundred and one | four or five | 1000"
        ),
        "things": _words(
            "apples | puppies | big boxes | mushrooms | butterflies | photographs | fishing boats | thumbs",
            "maple trees | yellow buses | balloons | shoes | wolves | oysters | blue feathers | measuring cups",
            "pumpkins | village choirs | poems | boiled eggs",
        ),
        "how": _words(
            "beautiful | rather small | warm and cosy | unbelievably heavy | smooth | quite popular | perfect",
            "bumpy | too loud | wonderful | pleasant | very fresh | huge | a bit foggy | cheap | remarkable",
        ),
        "do": _words(
            "buy more milk | play the oboe | bake a blueberry pie | go fishing | move the furniture | watch a film",
            "swim across the pool | build a boat | visit the museum | phone my brother | paint the bathroom",
            "feed the baby elephant | choose a new toy | pick mushrooms | sing about the weather",
        ),
        "does": _words("do | would | did"),
    },
)

SPANISH = Grammar(
    _words(
        "{who} {did} {what} {where}. | {when}, {who} {did} {what}. | {who} {did} {what} y {what}.",
        "¿por qué {who} {did} {what}? | ¿dónde está {what}? | ¿quieres {what} o {what}?",
        "por favor, trae {what} {where}. | {who} vio {number} {things} {where}. | ¡qué {how} es {what}!",
        "mañana vamos a {do} {where}. | me gusta mucho {do} con {who}. | creo que {who} {did} {what}.",
        "¿cuánto cuestan {number} {things}? | {when} quiero {do}. | hay {number} {things} {where}.",
    ),
    {
        "who": _words(
            "mi mamá | papá | el abuelo Pablo | la vecina | un buen amigo | María | la profesora de música",
            "el pescador | mi hermano | toda la familia | Felipe | la niña pequeña | un joven músico | Begoña",
            "el burro blanco | mi mejor amiga | el panadero del pueblo",
        ),
        "did": _words(
            "compró | pintó | buscó | encontró | olvidó | lavó | abrió | movió | vendió | probó | imaginó | dibujó",
            "trajo | escogió | guardó | empujó | miró | preparó | envió",
        ),
        "what": _words(
            "un vaso de agua | el bolso azul | una bomba de jabón | cinco plátanos | la llave vieja | un buen libro",
            "un barco de papel | el piano | una taza de café | pan con mantequilla | el espejo roto | una flor",
            "un pequeño pájaro amarillo | la ventana | un montón de uvas | el mapa del mundo | un zapato verde",
            "una sopa muy buena | el jabón | un globo enorme | la fotografía | una bufanda | dos huevos | el chocolate",
        ),
        "where": _words(
            "en el parque | junto al río | debajo del puente | en la playa | cerca del pueblo | en el jardín",
            "sobre la mesa | delante del museo | en el autobús | detrás de la puerta | en Bilbao | en la montaña",
            "al lado de la fuente",
        ),
        "when": _words(
            "mañana por la mañana | el jueves | en febrero | después de comer | a las nueve y media | por fin",
            "todos los viernes | ayer | en verano | a veces | en noviembre | antes de dormir",
        ),
        "number": _words("dos | cinco | 9 | 12 | 15 | 27 | 40 | 58 | 100 | 250 | muchos | mil"),
        "things": _words(
            "libros | perros | globos | zapatos | pueblos | barcos | plátanos | amigos | huevos | pimientos",
            "bombones | pájaros | caballos | quesos | abrigos | niños",
        ),
        "how": _words("bonito | grande | suave | bueno | pequeño | famoso | increíble | fuerte | amable | feo"),
        "do": _words(
            "comprar pan | jugar al fútbol | pintar la pared | beber agua fresca | visitar a la abuela",
            "mover los muebles | buscar uvas | bailar un poco | ver una película | subir la montaña",
            "hacer una foto | viajar en globo | cocinar pollo",
        ),
    },
)

GERMAN = Grammar(
    _words(
        "{who} {did} {what} {where}. | {when} {did} {who} {what}. | {who} {did} {what} und {what}.",
        "warum {did} {who} {what}? | wo ist denn {thing}? | möchtest du {what} oder {what}?",
        "bitte bring {what} mit. | {where} liegen {number} {things}. | {thing} ist {how}, aber {thing} nicht.",
        "wie {how} {thing} ist! | {when} wollen wir {do}. | ich glaube, {who} möchte {do}.",
        "kannst du mir {number} {things} geben? | wir müssen noch {number} Minuten {do}.",
    ),
    {
        "who": _words(
            "meine Mutter | Papa | der alte Fischer | die junge Frau | unser Nachbar Uwe | das Baby | Opa Paul",
            "mein bester Freund | die Bäckerin | Philipp | ein hübsches Mädchen | der Bürgermeister | Frau Böhm",
            "die ganze Familie | Jürgen | ein müder Bär",
        ),
        "did": _words(
            "kauft | bemalt | bringt | findet | vergisst | wäscht | öffnet | bewegt | verschenkt | beschreibt",
            "sucht | holt | probiert | putzt | behält | fotografiert | wünscht sich",
        ),
        "what": _words(
            "einen großen Apfel | den blauen Ball | fünf frische Brötchen | ein schönes Buch | die alte Uhr",
            "eine Tasse Kaffee | das bunte Bild | einen Pullover | die grüne Vase | ein paar Pfirsiche",
            "frische Blumen | das kaputte Fahrrad | einen Topf Suppe | die Möbel | zwei Bücher | den Hubschrauber",
            "ein Glas Wasser | die schwere Tür | einen kleinen Vogel | das Klavier | viel Gemüse | einen Löffel",
            "die Garage | eine süße Überraschung",
        ),
        "thing": _words(
            "der große Baum | die kleine Brücke | das Boot | der Bahnhof | die Musik | das Frühstück | der Kuchen",
            "mein Bruder | die Pfütze | der Schlüssel | das Museum | die Wohnung | der Mond | die Möwe",
        ),
        "where": _words(
            "im Park | am Fluss | hinter dem Haus | auf dem Berg | zu Hause | neben der Brücke | unter dem Baum",
            "vor dem Bahnhof | in Hamburg | am Abend | im Schwimmbad | über der Küche | bei der Oma",
        ),
        "when": _words(
            "morgen früh | im November | vor dem Frühstück | am Mittwoch | um halb fünf | heute Abend | bald",
            "nach dem Film | jeden Samstag | im Februar | übermorgen | um zwölf Uhr | manchmal",
        ),
        "number": _words("zwei | fünf | 7 | 12 | 15 | 28 | 44 | 55 | 99 | 100 | 250 | elf"),
        "things": _words(
            "Äpfel | Bücher | Pilze | Blumen | Vögel | Schuhe | Bäume | Boote | Töpfe | Brötchen | Pfannkuchen",
            "Fische | Bilder | Hühner | Jungen | Briefe",
        ),
        "how": _words("schön | groß | müde | warm | bunt | berühmt | fröhlich | klug | weich | laut | ruhig | böse"),
        "do": _words(
            "Brot backen | Fußball spielen | ein Boot bauen | Musik hören | Pilze suchen | das Museum besuchen",
            "die Möbel umstellen | im Fluss schwimmen | einen Film gucken | Opa anrufen | über Bücher sprechen",
            "zum Bahnhof laufen | Gemüse schneiden",
        ),
    },
)

FRENCH = Grammar(
    _words(
        "{who} {did} {what} {where}. | {when}, {who} {did} {what}. | {who} {did} {what} et {what}.",
        "pourquoi {who} {did} {what}? | où est {what}? | tu préfères {what} ou {what}?",
        "apporte {what} {where}, s'il te plaît. | il y a {number} {things} {where}. | comme {what} est {how}!",
        "{when}, nous allons {do}. | j'aime bien {do} avec {who}. | je crois que {who} {did} {what}.",
        "combien coûtent ces {number} {things}? | {who} veut {do} {where}. | on peut {do} {when}?",
    ),
    {
        "who": _words(
            "ma mère | papa | mon voisin Paul | la jeune femme | un vieux pêcheur | le boulanger | Philippe",
            "mon meilleur ami | toute la famille | le petit garçon | Juliette | ma sœur | un bon musicien",
            "le facteur | la professeure | un beau chien brun",
        ),
        "did": _words(
            "achète | peint | apporte | trouve | oublie | lave | ouvre | pousse | prépare | choisit | regarde",
            "cherche | vend | dessine | imagine | garde | emballe | montre",
        ),
        "what": _words(
            "une petite pomme bleue | un bon livre | le parapluie | cinq œufs | un verre d'eau | la vieille montre",
            "une tasse de café | du pain et du beurre | un bouquet de fleurs | le piano | une photo de famille",
            "un peu de vin | le gros ballon jaune | une soupe aux champignons | la feuille rouge | un beau bateau",
            "le grand miroir | une poupée | la voiture verte | un pull | le fauteuil | un œuf | une image",
            "un bijou brillant | une montagne de prunes",
        ),
        "where": _words(
            "dans le parc | au bord du fleuve | sous le pont | à la plage | près du village | devant le musée",
            "sur la table | dans la cuisine | derrière la porte | à Bruxelles | au jardin | chez mon oncle",
            "à la campagne",
        ),
        "when": _words(
            "demain matin | jeudi | en février | après le film | à huit heures et demie | ce soir | parfois",
            "avant de partir | en automne | le lundi | à neuf heures | aujourd'hui | au mois de juin",
        ),
        "number": _words("deux | cinq | 8 | 9 | 12 | 21 | 35 | 50 | 76 | 99 | 100 | 250 | mille"),
        "things": _words(
            "pommes | bateaux | fleurs | livres | amis | poissons | bonbons | fenêtres | oiseaux | chapeaux",
            "moutons | villages | plumes | vaches | peignes | feuilles",
        ),
        "how": _words("beau | joli | petit | rouge | bizarre | superbe | formidable | impossible | lourd | neuf"),
        "do": _words(
            "boire un café | jouer du piano | faire une promenade | visiter le musée | peindre le mur | nager un peu",
            "acheter du poisson | regarder un film | bouger les meubles | chanter ensemble | cueillir des mûres",
            "prendre le bus | fabriquer un avion",
        ),
    },
)

MANDARIN = Grammar(
    _words(
        "{who} {did} {what}. | {who} {when} {did} {what}. | {when} {who} zai4 {where} {did} {what}.",
        "{who} wei4 shen2me5 {did} {what}? | {what} zai4 na3 li3? | {who} zai4 {where} ma5?",
        "wo3 xi3 huan1 {what} he2 {what}. | qing3 gei3 wo3 {number} ge4 {thing}. | {thing} hen3 {how}.",
        "zhe4 li3 you3 {number} ge4 {thing}. | {who} ming2 tian1 yao4 {do}. | wo3 men5 yi4 qi3 {do} ba5!",
        "ni3 hui4 {do} ma5? | {who} jue2 de5 {thing} bu4 {how}. | {when} wo3 men5 qu4 {where} {do}.",
    ),
    {
        "who": _words(
            "ma1 ma5 | ba4 ba5 | wo3 de5 peng2 you5 | lao3 shi1 | wo3 men5 | ta1 | mei4 mei5 | ge1 ge5 | nai3 nai5",
            "xiao3 wang2 | pang4 pang4 | yi1 sheng1 | lin2 ju1 | xue2 sheng5 | nv3 er2 | wo3 fu4 mu3",
        ),
        "did": _words(
            "mai3 le5 | hua4 le5 | zhao3 dao4 le5 | wang4 le5 | xi3 le5 | da3 kai1 le5 | ban1 le5 | mai4 le5",
            "xi3 huan1 | kan4 jian4 le5 | bao4 zhe5 | fang4 hao3 le5 | yong4 le5 | pai1 le5",
        ),
        "what": _words(
            "yi2 ge4 ping2 guo3 | yi4 bei1 cha2 | wu3 ben3 shu1 | xin1 mao4 zi5 | mian4 bao1 | yi4 pen2 hua1",
            "lan2 se4 de5 yu3 san3 | nai3 nai5 de5 shou3 biao3 | liang3 zhang1 di4 tu2 | pu2 tao5 | bing1 shui3",
            "yi4 zhi1 xiao3 mao1 | huang2 se4 de5 qi4 qiu2 | mi3 fan4 | yi4 fu2 hua4 | man2 tou5 | bai2 bu4",
            "yue4 liang5 | yi4 shuang1 xie2 | mo2 gu5 | dou4 fu5 | bo1 li5 bei1",
        ),
        "thing": _words(
            "ping2 guo3 | peng2 you5 | pi2 qiu2 | bei1 zi5 | xiao3 gou3 | mian4 bao1 | fang2 zi5 | hu2 die2 | mao4 zi5",
            "wen4 ti2 | ren2 | bao1 zi5 | yue4 qi4 | jue2 ding4",
        ),
        "where": _words(
            "gong1 yuan2 | he2 bian1 | jia1 li3 | shu1 fang2 | bei3 jing1 | qiao2 shang4 | hua1 yuan2 | chu2 fang2",
            "mao4 yi4 shi4 chang3 | bo2 wu4 guan3 | xue2 xiao4 | fei1 ji1 chang3 | yun2 nan2",
        ),
        "when": _words(
            "ming2 tian1 | zuo2 tian1 | zao3 shang5 | wan3 shang5 | ba1 yue4 | wu3 fen1 zhong1 yi3 hou4",
            "xing1 qi1 wu3 | er4 yue4 | zhong1 wu3 | mei3 tian1 | bu4 jiu3",
        ),
        "number": _words(
            "liang3 | san1 | si4 | wu3 | liu4 | qi1 | ba1 | jiu3 | shi2 | shi2 er4 | er4 shi2 wu3 | wu3 shi2 liu4",
            "yi4 bai3 | jiu3 shi2 jiu3",
        ),
        "how": _words(
            "piao4 liang5 | da4 | gui4 | pang4 | bai2 | man4 | you3 ming2 | hao3 | fang1 bian4 | duan3 | re4"
        ),
        "do": _words(
            "mai3 mian4 bao1 | wan2 pi2 qiu2 | bao1 jiao3 zi5 | kan4 dian4 ying3 | he1 cha2 | pao3 bu4 | hua4 hua4",
            "chang4 ge1 | zuo4 fei1 ji1 | xue2 zhong1 wen2 | fang4 feng1 zheng5 | pa2 shan1",
            "ban1 jia1 | chui1 pao4 pao5",
        ),
    },
)

GRAMMARS = {"en": ENGLISH, "es": SPANISH, "de": GERMAN, "fr": FRENCH, "cmn": MANDARIN}
