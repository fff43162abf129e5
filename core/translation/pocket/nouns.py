"""The pocket corpus' nouns, by what they are: what a plan may put where stands in the group.

An entry reads `der Junge/Jungen* = boy/boys`: article, singular/plural, then English. A star marks
the weak declension (den Jungen), a missing German plural a mass noun, `+` before the English an
English plural (eine Hose, pants). The English plural is left out where it is regular.
"""

from __future__ import annotations

NOUNS = {
    "adult": """
        der Mann/Männer = man/men; die Frau/Frauen = woman/women; die Mutter/Mütter = mother;
        der Vater/Väter = father; der Koch/Köche = cook; der Arbeiter/Arbeiter = worker;
        die Sängerin/Sängerinnen = singer; der Student/Studenten* = student;
        die Studentin/Studentinnen = student; der Bauer/Bauern* = farmer;
        die Großmutter/Großmütter = grandmother; der Tourist/Touristen* = tourist;
        die Dame/Damen = lady; der Sänger/Sänger = singer; die Köchin/Köchinnen = cook;
        der Maler/Maler = painter; der Bauarbeiter/Bauarbeiter = construction worker;
        der Feuerwehrmann/Feuerwehrleute = firefighter; der Polizist/Polizisten* = police officer;
        die Polizistin/Polizistinnen = police officer; der Musiker/Musiker = musician;
        die Touristin/Touristinnen = tourist; der Fotograf/Fotografen* = photographer;
        der Kellner/Kellner = waiter; die Kellnerin/Kellnerinnen = waitress;
        der Verkäufer/Verkäufer = salesman/salesmen;
        die Verkäuferin/Verkäuferinnen = saleswoman/saleswomen;
        der Fischer/Fischer = fisherman/fishermen; der Soldat/Soldaten* = soldier;
        der Radfahrer/Radfahrer = cyclist; der Läufer/Läufer = runner; der Tänzer/Tänzer = dancer;
        die Tänzerin/Tänzerinnen = dancer; der Gärtner/Gärtner = gardener;
        die Gärtnerin/Gärtnerinnen = gardener; der Rentner/Rentner = retiree;
        der Großvater/Großväter = grandfather; der Clown/Clowns = clown;
        der Wanderer/Wanderer = hiker; der Reiter/Reiter = rider""",
    "child": """
        der Junge/Jungen* = boy; das Mädchen/Mädchen = girl; das Kind/Kinder = child/children;
        das Kleinkind/Kleinkinder = toddler; der Teenager/Teenager = teenager;
        der Schüler/Schüler = schoolboy; die Schülerin/Schülerinnen = schoolgirl""",
    "animal": """
        der Hund/Hunde = dog; die Katze/Katzen = cat; das Pferd/Pferde = horse;
        der Vogel/Vögel = bird; die Kuh/Kühe = cow; das Schaf/Schafe = sheep/sheep;
        die Ente/Enten = duck; der Esel/Esel = donkey; der Affe/Affen* = monkey;
        der Elefant/Elefanten* = elephant; die Ziege/Ziegen = goat; der Welpe/Welpen* = puppy;
        das Kaninchen/Kaninchen = rabbit; das Huhn/Hühner = chicken; die Möwe/Möwen = seagull;
        der Schwan/Schwäne = swan; der Bär/Bären* = bear; die Taube/Tauben = pigeon;
        das Kamel/Kamele = camel; der Löwe/Löwen* = lion""",
    "headwear": """
        der Hut/Hüte = hat; die Mütze/Mützen = cap; der Helm/Helme = helmet;
        die Brille/Brillen = +glasses; die Sonnenbrille/Sonnenbrillen = +sunglasses;
        die Maske/Masken = mask; das Stirnband/Stirnbänder = headband""",
    "garment": """
        das Hemd/Hemden = shirt; das Kleid/Kleider = dress; die Hose/Hosen = +pants;
        die Uniform/Uniformen = uniform; der Anzug/Anzüge = suit; der Rock/Röcke = skirt;
        das Trikot/Trikots = jersey; das Kostüm/Kostüme = costume; die Bluse/Blusen = blouse""",
    "outerwear": """
        die Jacke/Jacken = jacket; der Mantel/Mäntel = coat; der Schal/Schals = scarf/scarves;
        der Pullover/Pullover = sweater; die Weste/Westen = vest; die Schürze/Schürzen = apron;
        der Umhang/Umhänge = cape""",
    "luggage": """
        der Koffer/Koffer = suitcase; die Tasche/Taschen = bag; die Kiste/Kisten = box;
        der Rucksack/Rucksäcke = backpack; das Paket/Pakete = package""",
    "load": """
        der Korb/Körbe = basket; der Eimer/Eimer = bucket; das Tablett/Tabletts = tray;
        die Leiter/Leitern = ladder; der Sack/Säcke = sack; das Brett/Bretter = board""",
    "toy": """
        der Ball/Bälle = ball; der Stock/Stöcke = stick; der Stein/Steine = stone;
        die Murmel/Murmeln = marble; der Luftballon/Luftballons = balloon; die Puppe/Puppen = doll;
        der Ring/Ringe = ring; der Pfeil/Pfeile = arrow""",
    "thing": """
        das Schild/Schilder = sign; die Kamera/Kameras = camera;
        der Regenschirm/Regenschirme = umbrella; die Fahne/Fahnen = flag;
        das Mikrofon/Mikrofone = microphone; der Blumenstrauß/Blumensträuße = bouquet;
        die Kerze/Kerzen = candle; das Seil/Seile = rope; der Hammer/Hämmer = hammer;
        das Messer/Messer = knife/knives; der Schlüssel/Schlüssel = key;
        das Telefon/Telefone = phone; das Geschenk/Geschenke = gift""",
    "dishes": """
        das Glas/Gläser = glass; die Tasse/Tassen = cup; der Teller/Teller = plate;
        die Flasche/Flaschen = bottle; die Schüssel/Schüsseln = bowl; der Löffel/Löffel = spoon;
        der Topf/Töpfe = pot""",
    "fruit": """
        der Apfel/Äpfel = apple; die Banane/Bananen = banana; die Orange/Orangen = orange;
        die Birne/Birnen = pear; die Kartoffel/Kartoffeln = potato/potatoes;
        die Karotte/Karotten = carrot""",
    "snack": """
        das Brötchen/Brötchen = roll; der Kuchen/Kuchen = cake; die Wurst/Würste = sausage;
        das Ei/Eier = egg; der Keks/Kekse = cookie; die Tomate/Tomaten = tomato/tomatoes""",
    "meal": """
        die Suppe/Suppen = soup; die Pizza/Pizzas = pizza; der Salat/Salate = salad;
        das Omelett/Omeletts = omelet""",
    "drink": """
        der Kaffee = coffee; der Tee = tea; das Wasser = water; die Milch = milk; der Saft = juice;
        das Bier = beer; die Limonade = lemonade; der Wein = wine""",
    "reading": """
        das Buch/Bücher = book; die Zeitung/Zeitungen = newspaper; der Brief/Briefe = letter;
        die Zeitschrift/Zeitschriften = magazine; das Gedicht/Gedichte = poem""",
    "sheet": """
        die Karte/Karten = map; die Speisekarte/Speisekarten = menu; der Zettel/Zettel = note""",
    "car": """
        das Auto/Autos = car; der Lastwagen/Lastwagen = truck; der Traktor/Traktoren = tractor;
        der Bus/Busse = bus; das Taxi/Taxis = taxi""",
    "bike": """
        das Fahrrad/Fahrräder = bicycle; das Motorrad/Motorräder = motorcycle;
        das Boot/Boote = boat""",
    "transport": """
        der Zug/Züge = train; die Straßenbahn/Straßenbahnen = streetcar; das Taxi/Taxis = taxi;
        der Bus/Busse = bus""",
    "plant": """
        die Blume/Blumen = flower; die Pflanze/Pflanzen = plant; der Busch/Büsche = bush;
        der Rosenstrauch/Rosensträucher = rosebush""",
    "cart": """
        der Kinderwagen/Kinderwagen = stroller; der Einkaufswagen/Einkaufswagen = shopping cart;
        der Schlitten/Schlitten = sled; der Karren/Karren = cart;
        der Rasenmäher/Rasenmäher = lawn mower; der Roller/Roller = scooter""",
    "landmark": """
        das Haus/Häuser = house; das Gebäude/Gebäude = building; der Baum/Bäume = tree;
        die Mauer/Mauern = wall; der Zaun/Zäune = fence; die Tür/Türen = door;
        der Brunnen/Brunnen = fountain; die Kirche/Kirchen = church; der Laden/Läden = store;
        das Zelt/Zelte = tent; die Statue/Statuen = statue; der Turm/Türme = tower;
        die Bank/Bänke = bench; das Tor/Tore = gate; der Felsen/Felsen = rock;
        die Hütte/Hütten = hut; das Denkmal/Denkmäler = monument; das Schloss/Schlösser = castle;
        der Busch/Büsche = bush""",
    "obstacle": """
        der Zaun/Zäune = fence; die Mauer/Mauern = wall; der Baumstamm/Baumstämme = log;
        die Pfütze/Pfützen = puddle; das Hindernis/Hindernisse = obstacle;
        die Hecke/Hecken = hedge""",
    "surface": """
        der Tisch/Tische = table; der Stuhl/Stühle = chair; das Bett/Betten = bed;
        der Teppich/Teppiche = carpet; das Regal/Regale = shelf/shelves;
        die Decke/Decken = blanket; der Hocker/Hocker = stool; das Sofa/Sofas = sofa""",
    "woodwork": """
        der Zaun/Zäune = fence; die Tür/Türen = door; das Tor/Tore = gate;
        der Stuhl/Stühle = chair; der Tisch/Tische = table; die Wand/Wände = wall""",
    "picture": """
        das Bild/Bilder = picture; das Porträt/Porträts = portrait;
        die Landschaft/Landschaften = landscape; der Regenbogen/Regenbögen = rainbow;
        der Drache/Drachen* = dragon""",
    "building work": """
        die Sandburg/Sandburgen = sandcastle; der Schneemann/Schneemänner = snowman/snowmen;
        die Mauer/Mauern = wall; die Hütte/Hütten = hut; das Baumhaus/Baumhäuser = tree house;
        der Turm/Türme = tower; das Zelt/Zelte = tent""",
    "official": """
        der Lehrer/Lehrer = teacher; die Lehrerin/Lehrerinnen = teacher; der Arzt/Ärzte = doctor;
        die Ärztin/Ärztinnen = doctor; der Forscher/Forscher = researcher;
        die Forscherin/Forscherinnen = researcher; der Wissenschaftler/Wissenschaftler = scientist;
        die Wissenschaftlerin/Wissenschaftlerinnen = scientist;
        der Ingenieur/Ingenieure = engineer; der Patient/Patienten* = patient;
        der Bürger/Bürger = citizen; der Politiker/Politiker = politician;
        der Journalist/Journalisten* = journalist; die Journalistin/Journalistinnen = journalist;
        der Kunde/Kunden* = customer; der Künstler/Künstler = artist;
        die Künstlerin/Künstlerinnen = artist; der Unternehmer/Unternehmer = entrepreneur;
        der Leiter/Leiter = director; der Student/Studenten* = student; der Bauer/Bauern* = farmer;
        der Mensch/Menschen* = person/people""",
    "family": """
        der Freund/Freunde = friend; die Freundin/Freundinnen = friend;
        der Kollege/Kollegen* = colleague; die Kollegin/Kolleginnen = colleague;
        der Nachbar/Nachbarn* = neighbor; der Bruder/Brüder = brother;
        die Schwester/Schwestern = sister; der Onkel/Onkel = uncle; die Tante/Tanten = aunt;
        der Sohn/Söhne = son; die Tochter/Töchter = daughter;
        die Großmutter/Großmütter = grandmother""",
    "body": """
        die Regierung/Regierungen = government; das Team/Teams = team;
        die Organisation/Organisationen = organization; der Verein/Vereine = club;
        die Behörde/Behörden = agency""",
    "issue": """
        das Problem/Probleme = problem; die Krise/Krisen = crisis/crises;
        die Krankheit/Krankheiten = disease; die Frage/Fragen = question;
        der Fehler/Fehler = mistake; die Gefahr/Gefahren = danger;
        der Konflikt/Konflikte = conflict; die Herausforderung/Herausforderungen = challenge;
        das Risiko/Risiken = risk; die Ursache/Ursachen = cause;
        die Katastrophe/Katastrophen = disaster; das Rätsel/Rätsel = puzzle;
        der Unterschied/Unterschiede = difference; die Veränderung/Veränderungen = change""",
    "plan": """
        die Idee/Ideen = idea; der Plan/Pläne = plan; das Projekt/Projekte = project;
        die Lösung/Lösungen = solution; die Methode/Methoden = method;
        die Entscheidung/Entscheidungen = decision; der Vorschlag/Vorschläge = proposal;
        die Regel/Regeln = rule; das Gesetz/Gesetze = law; die Reform/Reformen = reform""",
    "text": """
        die Theorie/Theorien = theory; die Geschichte/Geschichten = story;
        das Ergebnis/Ergebnisse = result; die Studie/Studien = study;
        die Antwort/Antworten = answer; der Traum/Träume = dream; der Gedanke/Gedanken* = thought;
        die Nachricht/Nachrichten = message; das Beispiel/Beispiele = example;
        der Artikel/Artikel = article""",
    "event": """
        die Konferenz/Konferenzen = conference; der Kurs/Kurse = course;
        die Wahl/Wahlen = election; das Treffen/Treffen = meeting; die Debatte/Debatten = debate;
        das Experiment/Experimente = experiment; das Gespräch/Gespräche = conversation""",
    "tool": """
        die Maschine/Maschinen = machine; der Computer/Computer = computer;
        das Gerät/Geräte = device; das Programm/Programme = program; der Roboter/Roboter = robot;
        das Werkzeug/Werkzeuge = tool; das Netzwerk/Netzwerke = network;
        das System/Systeme = system; das Modell/Modelle = model;
        das Medikament/Medikamente = medicine; der Impfstoff/Impfstoffe = vaccine;
        der Motor/Motoren = engine; der Sensor/Sensoren = sensor; die Batterie/Batterien = battery;
        das Produkt/Produkte = product; die Karte/Karten = card""",
    "institution": """
        die Stadt/Städte = city; das Land/Länder = country; das Dorf/Dörfer = village;
        die Schule/Schulen = school; die Universität/Universitäten = university;
        das Krankenhaus/Krankenhäuser = hospital; die Bank/Banken = bank;
        die Insel/Inseln = island; die Bibliothek/Bibliotheken = library;
        das Museum/Museen = museum; die Fabrik/Fabriken = factory; die Firma/Firmen = company;
        die Region/Regionen = region; die Gemeinde/Gemeinden = community""",
    "value": """
        die Freiheit = freedom; die Bildung = education; die Natur = nature;
        die Gesundheit = health; das Wissen = knowledge; die Technik = technology; die Kunst = art;
        das Vertrauen = trust; die Energie = energy; die Gerechtigkeit = justice;
        die Vielfalt = diversity; die Musik = music; der Frieden = peace;
        die Sicherheit = security""",
}

PLACES = {
    ("in", "in"): """
        der Park = park; die Küche = kitchen; der Wald = forest; der Garten = garden;
        das Café = café; das Restaurant = restaurant; der Supermarkt = supermarket;
        das Büro = office; die Werkstatt = workshop; das Klassenzimmer = classroom;
        das Stadion = stadium; der Hof = courtyard; der Schnee = snow; das Gras = grass;
        der Sand = sand; der Regen = rain; die Sonne = sun; das Wohnzimmer = living room;
        der Schatten = shade""",
    ("auf", "on"): """
        die Straße = street; die Bühne = stage; das Dach = roof; die Brücke = bridge;
        der Gehweg = sidewalk; die Treppe = +stairs; der Balkon = balcony; der Rasen = lawn""",
    ("auf", "in"): """
        das Feld = field; die Wiese = meadow; der Parkplatz = parking lot;
        der Marktplatz = market square""",
    ("auf", "at"): """
        der Spielplatz = playground; die Baustelle = construction site; der Markt = market""",
    ("an", "at"): """
        die Bushaltestelle = bus stop; der Bahnhof = train station; der Flughafen = airport;
        die Kreuzung = intersection""",
    ("an", "on"): "der Strand = beach",
    ("an", "by"): """
        der See = lake; der Fluss = river; das Fenster = window; der Straßenrand = roadside""",
}

COMPOUNDS = {
    (
        "Holz",
        "wooden",
    ): "Tisch Stuhl Bank Zaun Tür Boot Kiste Hütte Leiter Regal Hocker Löffel Turm",
    ("Leder", "leather"): "Jacke Tasche Hose Weste Mantel Schürze Koffer Ball",
    ("Stroh", "straw"): "Hut Korb",
    ("Woll", "wool"): "Mütze Pullover Schal Decke Mantel",
    ("Stein", "stone"): "Mauer Haus Turm Hütte Brunnen Bank",
    ("Metall", "metal"): "Zaun Leiter Kiste Tor Eimer Stuhl Tür",
    ("Plastik", "plastic"): "Stuhl Flasche Eimer Teller Tasse Schüssel Tasche",
    ("Garten", "garden"): "Stuhl Tisch Zaun Tor Bank",
    ("Küchen", "kitchen"): "Tisch Messer Stuhl Regal",
    ("Winter", "winter"): "Mantel Jacke Mütze",
    ("Sport", "sports"): "Tasche Jacke Zeitschrift",
    ("Wasser", "water"): "Problem Krise Projekt Plan System",
    ("Energie", "energy"): "Problem Krise Projekt Plan System Programm Netzwerk Firma",
    ("Klima", "climate"): "Krise Katastrophe Modell Studie Projekt Gesetz",
    ("Gesundheits", "health"): "Problem Krise Projekt System Programm Studie",
    ("Bildungs", "education"): "Problem Krise Projekt System Programm Plan",
    ("Verkehrs", "traffic"): "Problem Projekt System Modell Plan Studie",
    ("Sicherheits", "safety"): "Problem Risiko System Plan Regel Programm",
    ("Forschungs", "research"): "Projekt Programm Methode Netzwerk Ergebnis Plan",
    ("Computer", "computer"): "Problem Programm System Modell Netzwerk",
    ("Schul", "school"): "Projekt Problem Gesetz System Computer",
}
