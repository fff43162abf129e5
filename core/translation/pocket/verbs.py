"""The pocket corpus' verbs and adjectives.

A verb reads `auf|heben hebt hob gehoben @case = pick/.. up : groups`. Before `=`: an optional
`sich`, the infinitive with its particle cut off by `|` (`+` where the particle stays a word of its
own), for strong verbs third person, preterite and participle, `ist` for those that form their
perfect with sein, and the object's case where it is not the accusative (`@dat`, `@auf-acc`). After
`=`: English, `base/past/participle` where irregular, `~` where the object goes before the rest.
After `:`: the groups of nouns that can be its object.
"""

from __future__ import annotations

VERBS = {
    "stay": """
        sitzen sitzt saß gesessen = sit/sat/sat; stehen steht stand gestanden = stand/stood/stood;
        liegen liegt lag gelegen = lie/lay/lain;
        schlafen schläft schlief geschlafen = sleep/slept/slept; tanzen = dance; warten = wait;
        lachen = laugh; arbeiten = work; posieren = pose;
        singen singt sang gesungen = sing/sang/sung; spielen = play; sich aus|ruhen = rest;
        knien kniet kniete gekniet = kneel/knelt/knelt; reden = talk;
        frieren friert fror gefroren = freeze/froze/frozen; träumen = dream""",
    "rest": """
        schlafen schläft schlief geschlafen = sleep/slept/slept; stehen steht stand gestanden =
        stand/stood/stood; liegen liegt lag gelegen = lie/lay/lain; spielen = play;
        sich aus|ruhen = rest; warten = wait""",
    "pose": """
        sitzen sitzt saß gesessen = sit/sat/sat; stehen steht stand gestanden = stand/stood/stood;
        knien kniet kniete gekniet = kneel/knelt/knelt; warten = wait; lachen = laugh;
        tanzen = dance; posieren = pose""",
    "act": """
        fern|sehen sieht sah gesehen = watch TV; ein|kaufen = shop;
        telefonieren = talk on the phone;
        ein|schlafen schläft schlief ist geschlafen = fall/fell/fallen asleep;
        zu|sehen sieht sah gesehen = watch; sich um|drehen = turn around;
        auf|stehen steht stand ist gestanden = get/got/gotten up;
        hin|fallen fällt fiel ist gefallen = fall/fell/fallen down; aus|rutschen ist = slip;
        sich hin|setzen = sit/sat/sat down; weg|laufen läuft lief ist gelaufen = run/ran/run away;
        auf|räumen = clean up; winken = wave; weinen = cry; lächeln = smile; klatschen = clap""",
    "hobby": """
        Gitarre+spielen = play the guitar; Klavier+spielen = play the piano;
        Geige+spielen = play the violin; Trompete+spielen = play the trumpet;
        Schlagzeug+spielen = play the drums; Flöte+spielen = play the flute;
        Fußball+spielen = play soccer; Karten+spielen = play cards; Schach+spielen = play chess;
        Verstecken+spielen = play hide-and-seek;
        Seil+springen springt sprang ist gesprungen = jump rope;
        Fahrrad+fahren fährt fuhr ist gefahren = ride/rode/ridden a bicycle;
        Schlange+stehen steht stand gestanden = stand/stood/stood in line;
        Musik+machen = make/made/made music;
        spazieren+gehen geht ging ist gegangen = go/went/gone for a walk""",
    "move": """
        gehen geht ging ist gegangen = walk; laufen läuft lief ist gelaufen = run/ran/run;
        rennen rennt rannte ist gerannt = run/ran/run; joggen ist = jog; spazieren ist = stroll;
        marschieren ist = march; kriechen kriecht kroch ist gekrochen = crawl; eilen ist = hurry;
        hüpfen ist = hop""",
    "leap": """
        springen springt sprang ist gesprungen = jump; klettern ist = climb;
        steigen steigt stieg ist gestiegen = climb; hüpfen ist = hop""",
    "handle": """
        halten hält hielt gehalten = hold/held/held : toy thing dishes;
        tragen trägt trug getragen = wear/wore/worn : garment outerwear headwear;
        tragen trägt trug getragen = carry : luggage load""",
    "task": """
        essen isst aß gegessen = eat/ate/eaten : fruit snack meal;
        trinken trinkt trank getrunken = drink/drank/drunk : drink;
        lesen liest las gelesen = read/read/read : reading sheet;
        werfen wirft warf geworfen = throw/threw/thrown : toy;
        fangen fängt fing gefangen = catch/caught/caught : toy; malen = paint : picture;
        zeichnen = draw/drew/drawn : picture; öffnen = open : luggage;
        bauen = build/built/built : building work; füttern = feed/fed/fed : animal;
        streicheln = pet : animal; fotografieren = photograph : landmark animal;
        schieben schiebt schob geschoben = push : cart; ziehen zieht zog gezogen = pull : cart;
        suchen = look for : thing; verstecken = hide/hid/hidden : toy thing;
        auf|heben hebt hob gehoben = pick up : toy;
        an|ziehen zieht zog gezogen = put/put/put on : outerwear;
        aus|ziehen zieht zog gezogen = take/took/taken off : outerwear;
        auf|setzen = put/put/put on : headwear; ab|setzen = take/took/taken off : headwear;
        an|probieren = try on : outerwear headwear;
        auf|hängen = hang/hung/hung up : garment outerwear;
        betrachten = look at : picture landmark sheet;
        an|sehen sieht sah gesehen = look at : picture animal landmark;
        an|schauen = look at : sheet car plant; zu|bereiten = prepare : meal;
        schälen = peel : fruit; ein|packen = pack : thing; aus|packen = unpack : luggage;
        ab|waschen wäscht wusch gewaschen = wash : dishes; ab|trocknen = dry : dishes;
        füllen = fill : dishes; vor|lesen liest las gelesen = read/read/read ~ aloud : reading;
        weg|werfen wirft warf geworfen = throw/threw/thrown away : reading sheet;
        gießen gießt goss gegossen = water : plant; pflanzen = plant : plant;
        ab|stellen = put/put/put down : luggage load""",
    "trade": """
        reparieren = repair : car bike; waschen wäscht wusch gewaschen = wash : car;
        kaufen = buy/bought/bought : fruit snack plant reading;
        verkaufen = sell/sold/sold : fruit snack plant; putzen = clean : car dishes;
        fahren fährt fuhr gefahren = drive/drove/driven : car; mieten = rent : car bike;
        streichen streicht strich gestrichen = paint : woodwork""",
    "pause": """
        sich bücken = bend/bent/bent down; stehen+bleiben bleibt blieb ist geblieben = stop;
        sich strecken = stretch; nieder|knien kniet kniete gekniet = kneel/knelt/knelt down;
        sich beeilen = hurry; sich vor|beugen = lean forward""",
    "lie": "liegen liegt lag gelegen = lie/lay/lain",
    "stand": "stehen steht stand gestanden = stand/stood/stood",
    "give": """
        geben gibt gab gegeben = give/gave/given : toy thing fruit;
        zeigen = show : picture sheet animal; reichen = hand : dishes thing;
        kaufen = buy/bought/bought : snack toy;
        an|bieten bietet bot geboten = offer : snack fruit""",
    "relate": """
        zu|hören @dat = listen to : adult;
        zu|sehen sieht sah gesehen @dat = watch : adult child animal;
        zu|winken @dat = wave at : adult child;
        helfen hilft half geholfen @dat = help : adult child;
        folgen ist @dat = follow : adult child animal; warten @auf-acc = wait for : transport;
        zeigen @auf-acc = point at : landmark animal; spielen @mit-dat = play with : toy animal;
        sprechen spricht sprach gesprochen @mit-dat = talk to : adult child;
        sich kümmern @um-acc = take/took/taken care of : child animal plant;
        ein|steigen steigt stieg ist gestiegen @in-acc = get/got/gotten into : car;
        aus|steigen steigt stieg ist gestiegen @aus-dat = get/got/gotten out of : car;
        sich lehnen @an-acc = lean against : landmark;
        sich setzen @auf-acc = sit/sat/sat down on : surface;
        sich verstecken @hinter-dat = hide/hid/hidden behind : landmark car;
        fahren fährt fuhr ist gefahren @mit-dat = ride/rode/ridden : bike;
        vorbei|gehen geht ging ist gegangen @an-dat = walk past : landmark""",
    "animal act": """
        fangen fängt fing gefangen = catch/caught/caught : toy; jagen = chase : animal;
        fressen frisst fraß gefressen = eat/ate/eaten : fruit;
        schnüffeln @an-dat = sniff at : plant landmark; tragen trägt trug getragen = carry : toy;
        hinterher|laufen läuft lief ist gelaufen @dat = run/ran/run after : child animal toy;
        beobachten = watch : child animal; bewachen = guard : landmark car luggage""",
    "seek": """
        finden findet fand gefunden = find/found/found : plan text issue; lösen = solve : issue;
        verstehen versteht verstand verstanden = understand/understood/understood : issue text;
        untersuchen = investigate : issue;
        beschreiben beschreibt beschrieb beschrieben = describe : issue plan event;
        vermeiden vermeidet vermied vermieden = avoid : issue;
        diskutieren = discuss : issue plan text;
        erkennen erkennt erkannte erkannt = recognize : issue;
        ernst+nehmen nimmt nahm genommen = take/took/taken ~ seriously : issue plan official;
        entwickeln = develop : plan tool; erklären = explain : issue text tool plan;
        vor|stellen = present : plan tool; auf|geben gibt gab gegeben = give/gave/given up : plan;
        um|setzen = implement : plan; unterstützen = support : plan official institution;
        vergessen vergisst vergaß vergessen = forget/forgot/forgotten : issue text official;
        ab|lehnen = reject : plan; an|nehmen nimmt nahm genommen = accept : plan;
        veröffentlichen = publish : text; brauchen = need : plan tool value; teilen = share : text;
        aus|probieren = try out : tool plan;
        auf|schreiben schreibt schrieb geschrieben = write/wrote/written down : text;
        weiter|entwickeln = develop ~ further : plan tool; testen = test : tool plan;
        bauen = build/built/built : tool; benutzen = use : tool; verkaufen = sell/sold/sold : tool;
        erfinden erfindet erfand erfunden = invent : tool;
        verbessern = improve : tool plan institution; her|stellen = produce : tool;
        ersetzen = replace : tool; treffen trifft traf getroffen = meet/met/met : official;
        fragen = ask : official; überzeugen = convince : official;
        besuchen = visit : official institution; ein|laden lädt lud geladen = invite : official;
        an|rufen ruft rief gerufen = call : official;
        kennen|lernen = get/got/gotten to know : official;
        verlassen verlässt verließ verlassen = leave/left/left : institution;
        verändern = change : institution plan; gründen = found : institution;
        retten = save : institution official; schützen = protect : institution value official;
        fördern = promote : value plan; organisieren = organize : event; planen = plan : event;
        vor|bereiten = prepare : event;
        helfen hilft half geholfen @dat = help : official institution;
        zu|hören @dat = listen to : official; vertrauen @dat = trust : official;
        danken @dat = thank : official;
        sprechen spricht sprach gesprochen @über-acc = talk about : issue plan text value event;
        nach|denken denkt dachte gedacht @über-acc = think/thought/thought about : issue plan text
        value; arbeiten @an-dat = work on : plan tool; glauben @an-acc = believe in : plan value;
        warten @auf-acc = wait for : official event;
        sich erinnern @an-acc = remember : text official event;
        teil|nehmen nimmt nahm genommen @an-dat = take/took/taken part in : event;
        sich kümmern @um-acc = take/took/taken care of : official institution;
        kämpfen @gegen-acc = fight/fought/fought against : issue;
        kämpfen @für-acc = fight/fought/fought for : value;
        träumen @von-dat = dream of : tool value;
        leiden leidet litt gelitten @unter-dat = suffer from : issue;
        zusammen|arbeiten @mit-dat = work together with : official institution;
        sich beschäftigen @mit-dat = deal/dealt/dealt with : issue;
        suchen @nach-dat = search for : plan tool""",
    "live": """
        lernen = learn; arbeiten = work; scheitern ist = fail; reisen ist = travel; leben = live;
        auf|wachsen wächst wuchs ist gewachsen = grow/grew/grown up;
        an|fangen fängt fing gefangen = start;
        schweigen schweigt schwieg geschwiegen = stay silent; forschen = do/did/done research;
        demonstrieren = protest""",
    "happen": """
        verschwinden verschwindet verschwand ist verschwunden = disappear : issue institution;
        funktionieren = work : tool plan; zu|nehmen nimmt nahm genommen = increase : issue;
        wachsen wächst wuchs ist gewachsen = grow/grew/grown : issue institution;
        sich verändern = change : institution issue; existieren = exist : issue tool institution;
        statt|finden findet fand gefunden = take/took/taken place : event;
        sich aus|breiten = spread/spread/spread : issue; scheitern ist = fail : plan;
        zusammen|brechen bricht brach ist gebrochen = break/broke/broken down : tool institution;
        aus|fallen fällt fiel ist gefallen = fail : tool""",
}

ADJECTIVES = {
    "adult": """
        jung = young; alt = old; klein = short; groß = tall; blond = blond; fröhlich = cheerful;
        müde = tired; lächelnd = smiling; stark = strong; elegant = elegant;
        barfüßig = barefoot""",
    "child": """
        klein = little; groß = tall; blond = blond; fröhlich = cheerful; müde = tired;
        lächelnd = smiling; barfüßig = barefoot; hungrig = hungry; frech = cheeky""",
    "animal": """
        klein = small; groß = big; wild = wild; nass = wet; gefleckt = spotted; jung = young;
        hungrig = hungry; schnell = fast""",
    "color": """
        rot = red; blau = blue; grün = green; gelb = yellow; schwarz = black; weiß = white;
        braun = brown; grau = gray; hellblau = light blue; dunkelblau = dark blue;
        dunkelgrün = dark green; dunkelrot = dark red""",
    "object": """
        klein = small; groß = big; alt = old; neu = new; bunt = colorful; schmutzig = dirty;
        schön = beautiful; modern = modern; teuer/teur = expensive""",
    "landmark": """
        klein = small; groß = big; alt = old; weiß = white; grau = gray; schön = beautiful""",
    "cloth": """
        gestreift = striped; kariert = plaid; lang = long; warm = warm; dick = thick;
        eng = tight""",
    "drink": "kalt = cold; heiß = hot; süß = sweet; frisch = fresh",
    "taste": """
        frisch = fresh; süß = sweet; groß = big; klein = small; lecker = delicious; reif = ripe""",
    "talk": """
        wichtig = important; neu = new; schwierig = difficult; einfach = simple; komplex = complex;
        groß = big; gefährlich = dangerous; politisch = political; digital = digital;
        wissenschaftlich = scientific; global = global; lokal = local; langfristig = long-term;
        erfolgreich = successful; interessant = interesting; überraschend = surprising;
        seltsam = strange; verrückt = crazy; einzigartig = unique; nützlich = useful""",
    "talk person": """
        jung = young; alt = old; berühmt = famous; intelligent = intelligent; mutig = brave;
        arm = poor; reich = rich; krank = sick; gesund = healthy; neugierig = curious;
        ehrlich = honest""",
    "talk place": """
        klein = small; groß = big; arm = poor; reich = rich; öffentlich = public;
        modern = modern""",
}
